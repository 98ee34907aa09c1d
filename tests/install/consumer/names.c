/* A program with names of its own that the library uses inside, too, as other things: it still links with libfacet.a,
 * and neither is disturbed. Prints the version of the library. */
#include <facet.h>
#include <stdio.h>

int n_calls = 0;
int pool_new = 1;
char error_set[4] = "own";
double buffer_append(double a) {
    n_calls++;
    return 2 * a;
}
void source_open_path(void) { n_calls++; }

int main(void) {
    facet_model *model;
    facet_error error;
    if (facet_model_open(&model, "/nowhere.gguf", NULL, &error) != FACET_ERROR_IO || model || !error.message[0])
        return 1;
    if (n_calls || pool_new != 1 || error_set[0] != 'o') return 1;
    source_open_path();
    if (buffer_append(1.5) != 3.0 || n_calls != 2) return 1;
    printf("facet %s\n", facet_version());
    return 0;
}
