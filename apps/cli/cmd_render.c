/* facet render: the prompt text of a chat request. */
#include "app.h"
#include "commands.h"
#include "json.h"

#include <string.h>

static int get_flag(const facet_value *request, const char *key, bool *out) {
    const facet_value *value = facet_value_get(request, key);
    if (!value || facet_value_typeof(value) == FACET_VALUE_NULL) return EXIT_OK;
    if (facet_value_typeof(value) != FACET_VALUE_BOOL) return report_error("%s: neither true nor false", key);
    *out = facet_value_is_true(value);
    return EXIT_OK;
}

static int fill_chat(facet_chat *chat, const facet_value *request) {
    facet_chat_defaults(chat);
    if (facet_value_typeof(request) != FACET_VALUE_OBJECT) return report_error("the request is not a JSON object");
    chat->messages = facet_value_get(request, "messages");
    if (facet_value_typeof(chat->messages) != FACET_VALUE_ARRAY)
        return report_error("messages: not there, or not an array");
    chat->tools = facet_value_get(request, "tools");
    if (facet_value_typeof(chat->tools) == FACET_VALUE_NULL) chat->tools = NULL;
    int status = get_flag(request, "enable_thinking", &chat->enable_thinking);
    if (!status) status = get_flag(request, "preserve_thinking", &chat->preserve_thinking);
    if (!status) status = get_flag(request, "add_generation_prompt", &chat->add_generation_prompt);
    if (!status) status = get_flag(request, "continue_final_message", &chat->continue_final_message);
    return status;
}

static int render(app *a, const facet_value *request) {
    facet_error error = {0};
    facet_chat chat;
    facet_prompt *prompt = NULL;
    int status = fill_chat(&chat, request);
    if (status) return status;
    if (facet_chat_render(a->model, &chat, &prompt, &error)) return report_failure(&error, NULL);
    size_t n;
    const char *data = facet_prompt_text(prompt, &n);
    fwrite(data, 1, n, stdout);
    facet_prompt_free(prompt);
    return EXIT_OK;
}

int cmd_render(const cli_options *o) {
    app a = {0};
    text input = {0};
    char why[200];
    facet_value *request = NULL;
    int status = app_open_model(&a, o, APP_VOCABULARY);
    if (!status) status = app_read(&input, NULL);
    if (!status) {
        request = json_parse_request(cli_text_get(&input), input.n, why, sizeof why);
        status = request ? render(&a, request) : report_error("the request: %s", why);
    }
    facet_value_free(request);
    cli_text_free(&input);
    app_close(&a);
    return status;
}
