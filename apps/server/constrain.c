/* Forms of answers: see constrain.h. */
#include "constrain.h"

#include <string.h>

static const char *const format_types[] = {"text", "json_object", "json_schema", NULL};

static bool read_schema(job *j, const fields *format) {
    const facet_value *wrapper;
    if (!field_object(format, "json_schema", &wrapper)) return false;
    if (!wrapper) return field_refuse(format, "json_schema", "is missing");
    char path[160];
    field_path(format, "json_schema", path, sizeof path);
    const fields inner = {wrapper, path, format->error};
    if (!field_object(&inner, "schema", &j->schema)) return false;
    j->format = j->schema ? FORMAT_SCHEMA : FORMAT_JSON;
    return true;
}

bool constrain_read_format(job *j, const fields *f) {
    const facet_value *object;
    int type = 0;
    if (!field_object(f, "response_format", &object) || !field_string(f, "grammar", &j->grammar, NULL)) return false;
    if (j->grammar) j->format = FORMAT_GRAMMAR;
    if (!object) return true;
    const fields format = {object, "response_format", f->error};
    if (!field_has(&format, "type")) return field_refuse(&format, "type", "is missing");
    if (!field_word(&format, "type", format_types, &type)) return false;
    if (type == 1) j->format = FORMAT_JSON;
    return type != 2 || read_schema(j, &format);
}

bool constrain_read_ollama(job *j, const fields *f) {
    const facet_value *format = field_get(f, "format");
    size_t n = 1;
    if (facet_value_typeof(format) == FACET_VALUE_STRING) facet_value_text(format, &n);
    if (!format || !n) return true;
    if (value_says(format, "json")) {
        j->format = FORMAT_JSON;
        return true;
    }
    if (!field_object(f, "format", &j->schema)) return false;
    j->format = FORMAT_SCHEMA;
    return true;
}

static bool is_call_forced(const job *j) { return j->tool_mode == TOOLS_REQUIRED || j->tool_mode == TOOLS_NAMED; }

static facet_status make_grammar(job *j, facet_error *error) {
    facet_model *model = j->server->model;
    if (is_call_forced(j))
        return facet_grammar_from_tools(&j->constraint, model, j->tools, j->tool_name, j->parallel_calls, error);
    switch (j->format) {
    case FORMAT_JSON: return facet_grammar_json_object(&j->constraint, model, error);
    case FORMAT_SCHEMA: return facet_grammar_from_schema(&j->constraint, model, j->schema, error);
    case FORMAT_GRAMMAR: return facet_grammar_from_gbnf(&j->constraint, model, j->grammar, strlen(j->grammar), error);
    default: return FACET_OK;
    }
}

bool constrain_prepare(job *j) {
    facet_error error = {0};
    if (j->format == FORMAT_TEXT && !is_call_forced(j)) return true;
    facet_status status = make_grammar(j, &error);
    const char *field = is_call_forced(j) ? "tools" : j->format == FORMAT_GRAMMAR ? "grammar" : "response_format";
    if (status) return job_library_error(j, status, &error, field);
    j->generation.grammar = j->constraint;
    j->generation.grammar_after_thought = j->thinking;
    return true;
}

void constrain_free(job *j) { facet_grammar_free(j->constraint); }
