/* The chat page: see page.h. The build makes the table of the files (apps/server/assets.cmake). */
#include "page.h"

#include <string.h>

typedef struct asset {
    const char *name, *content_type;
    const unsigned char *data, *end;
} asset;

extern const asset server_assets[]; /* ends with a name of NULL */

void page_get(exchange *x) {
    const char *name = !strcmp(x->path, "/") ? "index.html" : x->path + strlen("/ui/");
    const asset *a = server_assets;
    while (a->name && strcmp(a->name, name) != 0) a++;
    if (!a->name) {
        exchange_fail(x, 404, "not_found", "there is no such file");
    } else {
        x->cache_control = "no-cache";
        bool html = !strcmp(a->content_type, "text/html");
        exchange_reply_constant(x, html ? "text/html; charset=utf-8" : a->content_type, a->data,
                                (size_t)(a->end - a->data));
    }
    exchange_release(x);
}
