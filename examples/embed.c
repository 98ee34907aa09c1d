/* The shortest complete program: a streamed answer. embed MODEL.gguf QUESTION
 * Build it with: cc embed.c $(pkg-config --cflags --libs facet) */
#include <facet.h>
#include <stdio.h>
#include <string.h>

static bool print_text(void *ctx, const facet_token *token) {
    (void)ctx;
    if (!token->control) fwrite(token->text, 1, token->n_bytes, stdout);
    return fflush(stdout) == 0; /* false stops the answer */
}

/* [{"role": "user", "content": text}] */
static facet_value *user_message(const char *text) {
    facet_value *message = facet_value_object(), *messages = facet_value_array();
    facet_value_set(message, "role", 4, facet_value_string("user", 4));
    facet_value_set(message, "content", 7, facet_value_string(text, strlen(text)));
    facet_value_append(messages, message);
    return messages;
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: embed MODEL.gguf QUESTION\n"), 2;
    facet_model *model = NULL;
    facet_engine *engine = NULL;
    facet_session *session = NULL;
    facet_prompt *prompt = NULL;
    facet_error error;
    facet_status status;

    facet_chat chat;
    facet_chat_defaults(&chat);
    facet_value *messages = user_message(argv[2]);
    chat.messages = messages;
    facet_generation generation;
    facet_generation_defaults(&generation);
    generation.sampling.temperature = 0; /* always the likeliest token */

    if ((status = facet_model_open(&model, argv[1], NULL, &error))) goto done;
    if ((status = facet_engine_new(&engine, model, NULL, &error))) goto done;
    if ((status = facet_session_new(&session, engine, NULL, &error))) goto done;
    if ((status = facet_chat_render(model, &chat, &prompt, &error))) goto done;
    size_t n_tokens;
    const int32_t *tokens = facet_prompt_tokens(prompt, &n_tokens);
    if ((status = facet_session_sync(session, tokens, n_tokens, NULL, NULL, NULL, &error))) goto done;
    status = facet_session_generate(session, &generation, print_text, NULL, NULL, &error);
    puts("");

done:
    if (status) fprintf(stderr, "embed: %s\n", error.message);
    facet_prompt_free(prompt);
    facet_value_free(messages);
    facet_session_free(session);
    facet_engine_free(engine);
    facet_model_free(model);
    return status != FACET_OK;
}
