/* GET and POST /v1/adapters, DELETE /v1/adapters/NAME. An adapter comes in the body of the request, as the bytes of
 * its GGUF file with ?name=NAME: a path in a request would let a client ask for any file of the server's. */
#include "adapters.h"
#include "exchange.h"

#include <stdlib.h>
#include <string.h>

void adapters_get(exchange *x) {
    exchange_reply_json(x, 200, adapter_list_json(&x->server->adapters));
    exchange_release(x);
}

static bool name_valid(const char *name) {
    size_t n = strlen(name);
    if (!n || n > 100) return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static void release_body(void *ctx, const void *data, size_t n) {
    (void)ctx;
    (void)n;
    free((void *)(uintptr_t)data);
}

static void refuse(exchange *x, int status, const char *param, const char *message) {
    request_error e = {0};
    request_refuse(&e, status, param, "", "%s", message);
    exchange_refuse(x, &e);
}

static void load(exchange *x, const char *name) {
    facet_error error = {0};
    facet_adapter *adapter = NULL;
    text body = x->body;
    x->body = (text){0};
    facet_status status =
        facet_adapter_open_memory(&adapter, x->server->model, body.data, body.n, release_body, NULL, &error);
    if (status) {
        refuse(x, status == FACET_ERROR_MEMORY ? 500 : 400, "", error.message);
    } else if (!adapter_list_add(&x->server->adapters, name, adapter, false, 1)) {
        refuse(x, 409, "name", "there are as many adapters as there may be: delete one");
    } else {
        exchange_reply_json(x, 201, json_pack("{s:s,s:s}", "id", name, "object", "adapter"));
    }
}

void adapters_post(exchange *x) {
    const char *name = x->query_name;
    if (!name || !name_valid(name)) {
        refuse(x, 400, "name", "?name=NAME is missing, or holds more than letters, digits, '.', '_' and '-'");
    } else if (!x->body.n) {
        refuse(x, 400, "", "the body must be the bytes of a GGUF adapter");
    } else {
        load(x, name);
    }
    exchange_release(x);
}

void adapters_delete(exchange *x) {
    const char *name = x->path + strlen("/v1/adapters/");
    if (adapter_list_remove(&x->server->adapters, name))
        exchange_reply_json(x, 200, json_pack("{s:s,s:s,s:b}", "id", name, "object", "adapter", "deleted", 1));
    else
        refuse(x, 404, "", "there is no such adapter");
    exchange_release(x);
}
