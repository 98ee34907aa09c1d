/* The two files of a batch: requests, one JSON object a line, and answers, which the same file may hold already from
 * an earlier run. Owns their reading, checking and writing; knows nothing of how requests are answered. */
#ifndef FACET_CLI_BATCH_FILE_H
#define FACET_CLI_BATCH_FILE_H

#include "text.h"

#include <facet.h>
#include <jansson.h>

typedef struct batch_file {
    const char *in_path, *out_path;
    FILE *in;
    int out;
    char *line; /* of getline */
    size_t capacity;
    size_t n_line;  /* the line read last, from 1 */
    size_t n_lines; /* requests in all */
    size_t n_known; /* of these, answered by an earlier run */
    json_t *ids;    /* custom ids; true: answered */
    bool failed;    /* the requests cannot be read on, which has been told */
} batch_file;

/* A line: {"custom_id", "method": "POST", "url", "body"}. */
typedef struct batch_request {
    facet_value *value; /* the line; the rest borrows from it */
    const char *id;
    size_t id_bytes;
    const char *url;
    const facet_value *body;
    const char *error; /* why it cannot be answered; NULL: it can */
} batch_request;

typedef struct batch_answer {
    const char *error; /* NULL: there is an answer */
    int status;
    char request_id[32];
    const text *body; /* JSON */
} batch_answer;

/* Reads both files through. What is no JSON object, or lacks an id of its own, is an error with its line. The last
 * line of the answers is cut off where it is torn. Returns an exit status, and has told about a failure. */
int batch_file_open(batch_file *f, const char *in_path, const char *out_path);
void batch_file_close(batch_file *f);
/* The next request that has no answer. False at the end, and where `failed`. */
bool batch_file_next(batch_file *f, batch_request *out);
void batch_request_free(batch_request *r);
/* Appends the answer as one line. False: it could not be written, which has been told. */
bool batch_file_write(batch_file *f, const batch_request *r, const batch_answer *answer);

#endif
