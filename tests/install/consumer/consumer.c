/* A program of somebody who has facet installed: prints the version of the library, and sees that a model which is
 * not there is an error with a message. */
#include <facet.h>
#include <stdio.h>

int main(void) {
    facet_model *model;
    facet_error error;
    if (facet_model_open(&model, "/nowhere.gguf", NULL, &error) != FACET_ERROR_IO || model || !error.message[0])
        return 1;
    printf("facet %s\n", facet_version());
    return 0;
}
