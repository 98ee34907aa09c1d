/* Requests of Ollama's API: their messages, options and format become those of OpenAI's shape. */
#include "constrain.h"
#include "messages.h"
#include "ollama.h"
#include "params.h"
#include "value.h"

#include <string.h>

static bool read_options(job *j, const fields *f) {
    const facet_value *object;
    int64_t seed = 0, most = -1;
    if (!field_object(f, "options", &object)) return false;
    const fields o = {object, "options", f->error};
    if (!params_sampling(j, &o) || !params_stop(j, &o, "stop") ||
        !field_integer(&o, "seed", INT64_MIN, INT64_MAX, &seed) ||
        !field_integer(&o, "num_predict", -2, INT32_MAX, &most))
        return false;
    if (field_has(&o, "seed")) j->generation.sampling.seed = (uint64_t)seed;
    if (most >= 0) j->generation.max_tokens = (int32_t)most; /* -1 and -2: no limit but the context */
    return true;
}

/* true, false, or a word for how long. */
static bool read_think(job *j, const fields *f) {
    static const char *const efforts[] = {"low", "medium", "high", NULL};
    int effort = -1;
    if (facet_value_typeof(field_get(f, "think")) != FACET_VALUE_STRING) return field_bool(f, "think", &j->thinking);
    if (!field_word(f, "think", efforts, &effort)) return false;
    j->thinking = true;
    return true;
}

static bool read_common(job *j, const fields *f) {
    j->stream = true;
    return field_bool(f, "stream", &j->stream) && read_options(j, f) && read_think(j, f) &&
           constrain_read_ollama(j, f);
}

static bool copy_call(const fields *call, facet_value *calls) {
    const facet_value *function;
    if (!field_object(call, "function", &function)) return false;
    if (!function) return field_refuse(call, "function", "is missing");
    facet_value *copy = facet_value_object();
    bool ok = value_put(call->error, copy, "function", cli_value_copy(function));
    return value_add(call->error, calls, copy) && ok;
}

static bool copy_calls(const fields *m, facet_value *copy) {
    const facet_value *array;
    if (!field_array(m, "tool_calls", &array)) return false;
    if (!facet_value_count(array)) return true;
    facet_value *calls = facet_value_array();
    bool ok = true;
    for (size_t i = 0; ok && i < facet_value_count(array); i++) {
        const fields call = {facet_value_at(array, i), m->prefix, m->error};
        ok = copy_call(&call, calls);
    }
    return value_put(m->error, copy, "tool_calls", calls) && ok;
}

static bool copy_as(const fields *from, const char *name, facet_value *to, const char *as) {
    const facet_value *value = field_get(from, name);
    return !value || value_put(from->error, to, as, cli_value_copy(value));
}

static bool add_message(const fields *m, facet_value *messages) {
    if (facet_value_typeof(m->object) != FACET_VALUE_OBJECT) return field_refuse(m, "", "must be an object");
    if (facet_value_count(field_get(m, "images")))
        return field_refuse(m, "images", "are not supported: this server reads text only");
    facet_value *copy = facet_value_object();
    bool ok = value_put(m->error, copy, "content", cli_value_text("")) && copy_as(m, "role", copy, "role") &&
              copy_as(m, "content", copy, "content") && copy_as(m, "thinking", copy, "reasoning_content") &&
              copy_as(m, "tool_name", copy, "name") && copy_as(m, "tool_call_id", copy, "tool_call_id") &&
              copy_calls(m, copy);
    return value_add(m->error, messages, copy) && ok;
}

static bool convert_messages(const fields *f, facet_value *request) {
    const facet_value *array;
    if (!field_array(f, "messages", &array)) return false;
    facet_value *messages = facet_value_array();
    bool ok = true;
    for (size_t i = 0; ok && i < facet_value_count(array); i++) {
        char path[40];
        snprintf(path, sizeof path, "messages[%zu]", i);
        const fields m = {facet_value_at(array, i), path, f->error};
        ok = add_message(&m, messages);
    }
    return value_put(f->error, request, "messages", messages) && ok && copy_as(f, "tools", request, "tools");
}

static bool read_converted(job *j) {
    const fields converted = {j->request, "", &j->error};
    j->is_chat = true;
    return messages_read(j, &converted) && tools_read(j, &converted) && job_render(j);
}

bool ollama_read_chat(job *j, bool *loads) {
    if (!job_parse(j)) return false;
    const fields f = {j->body, "", &j->error};
    *loads = !facet_value_count(field_get(&f, "messages"));
    if (!read_common(j, &f) || *loads) return j->error.status == 0;
    j->request = facet_value_object();
    return convert_messages(&f, j->request) && read_converted(j);
}

static bool add_turn(const fields *f, facet_value *messages, const char *role, const char *name) {
    if (!field_has(f, name)) return true;
    facet_value *m = facet_value_object();
    bool ok = value_put(f->error, m, "role", cli_value_text(role)) && copy_as(f, name, m, "content");
    return value_add(f->error, messages, m) && ok;
}

bool ollama_read_generate(job *j, bool *loads) {
    const char *prompt = NULL;
    size_t n = 0;
    bool raw = false;
    if (!job_parse(j)) return false;
    const fields f = {j->body, "", &j->error};
    if (!field_string(&f, "prompt", &prompt, &n) || !field_bool(&f, "raw", &raw) || !read_common(j, &f)) return false;
    if (facet_value_count(field_get(&f, "images"))) return field_refuse(&f, "images", "are not supported");
    const char *suffix = NULL;
    size_t n_suffix = 0;
    if (!field_string(&f, "suffix", &suffix, &n_suffix)) return false;
    if (n_suffix) return field_refuse(&f, "suffix", "is not supported: this model does not fill in");
    *loads = n == 0;
    if (*loads) return true;
    if (raw) return job_add_text(j, prompt, n);
    facet_value *messages = facet_value_array();
    j->request = facet_value_object();
    bool ok = add_turn(&f, messages, "system", "system") && add_turn(&f, messages, "user", "prompt");
    return value_put(f.error, j->request, "messages", messages) && ok && read_converted(j);
}
