/* A model that lies encrypted on the disk and is decrypted on the way to memory: facet_model_open_source.
 *
 *   encrypted key KEY                        makes a key
 *   encrypted encrypt KEY MODEL.gguf OUT     encrypts
 *   encrypted ask KEY OUT QUESTION           answers with it; no decrypted byte ever touches the disk
 *
 * The file: a head of 32 bytes (8 letters, the plain size, 16 random bytes), then chunks of 64 KiB, each sealed alone
 * by XChaCha20-Poly1305 with a nonce of the random bytes and its number, and with the head as additional data. So any
 * chunk can be read alone, and one that was changed, moved or cut off is noticed. Build it with: cc encrypted.c
 * $(pkg-config --cflags --libs facet libsodium) */
#include <facet.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 65536, HEAD = 32, SEAL = crypto_aead_xchacha20poly1305_ietf_ABYTES };
enum { KEY_BYTES = crypto_aead_xchacha20poly1305_ietf_KEYBYTES };

typedef struct vault {
    FILE *file;
    unsigned char key[KEY_BYTES], head[HEAD];
    uint64_t n_bytes; /* plain */
    uint64_t chunk;   /* the number of the one that is open; UINT64_MAX: none */
    unsigned char plain[CHUNK], sealed[CHUNK + SEAL];
} vault;

static int fail(const char *what, const char *name) { return fprintf(stderr, "encrypted: %s %s\n", what, name), 1; }

static uint64_t read_u64(const unsigned char *p) {
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static void write_u64(unsigned char *p, uint64_t v) {
    for (int i = 0; i < 8; i++) p[i] = (unsigned char)(v >> (8 * i));
}

static void make_nonce(const vault *v, uint64_t chunk, unsigned char nonce[24]) {
    memcpy(nonce, v->head + 16, 16);
    write_u64(nonce + 16, chunk);
}

static size_t chunk_bytes(const vault *v, uint64_t chunk) {
    uint64_t left = v->n_bytes - chunk * CHUNK;
    return left < CHUNK ? (size_t)left : CHUNK;
}

/* ---- reading */

static facet_status open_chunk(vault *v, uint64_t chunk, facet_error *error) {
    unsigned char nonce[24];
    size_t n = chunk_bytes(v, chunk) + SEAL;
    long at = (long)(HEAD + chunk * (CHUNK + SEAL));
    v->chunk = UINT64_MAX;
    if (fseek(v->file, at, SEEK_SET) || fread(v->sealed, 1, n, v->file) != n) {
        snprintf(error->message, sizeof error->message, "the encrypted file is cut off");
        return FACET_ERROR_TRUNCATED;
    }
    make_nonce(v, chunk, nonce);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(v->plain, NULL, NULL, v->sealed, n, v->head, HEAD, nonce,
                                                   v->key)) {
        snprintf(error->message, sizeof error->message, "the key is wrong, or somebody has changed the file");
        return FACET_ERROR_FORMAT;
    }
    v->chunk = chunk;
    return FACET_OK;
}

static facet_status read_vault(void *ctx, uint64_t offset, void *to, size_t n, facet_error *error) {
    vault *v = ctx;
    for (char *out = to; n;) {
        uint64_t chunk = offset / CHUNK;
        if (chunk != v->chunk) {
            facet_status status = open_chunk(v, chunk, error);
            if (status) return status;
        }
        size_t from = (size_t)(offset % CHUNK), some = CHUNK - from < n ? CHUNK - from : n;
        memcpy(out, v->plain + from, some);
        out += some;
        offset += some;
        n -= some;
    }
    return FACET_OK;
}

static void close_vault(void *ctx) {
    vault *v = ctx;
    if (v->file) fclose(v->file);
    sodium_memzero(v, sizeof *v);
}

static int read_key(vault *v, const char *name) {
    FILE *f = fopen(name, "rb");
    size_t n = f ? fread(v->key, 1, sizeof v->key, f) : 0;
    if (f) fclose(f);
    return n == sizeof v->key ? 0 : fail("no key in", name);
}

static int open_vault(vault *v, const char *key, const char *name) {
    *v = (vault){.chunk = UINT64_MAX};
    if (read_key(v, key)) return 1;
    v->file = fopen(name, "rb");
    if (!v->file) return fail("cannot read", name);
    if (fread(v->head, 1, HEAD, v->file) != HEAD || memcmp(v->head, "FACETENC", 8) != 0)
        return fail("not encrypted by this program:", name);
    v->n_bytes = read_u64(v->head + 8);
    return 0;
}

/* ---- the three things it does */

static int make_key(const char *name) {
    unsigned char key[KEY_BYTES];
    crypto_aead_xchacha20poly1305_ietf_keygen(key);
    FILE *f = fopen(name, "wbx");
    int failed = !f || fwrite(key, 1, sizeof key, f) != sizeof key;
    if (f && fclose(f)) failed = 1;
    return failed ? fail("cannot make", name) : 0;
}

static int seal_all(vault *v, FILE *from, FILE *out) {
    unsigned char nonce[24];
    for (uint64_t chunk = 0; chunk * CHUNK < v->n_bytes; chunk++) {
        size_t n = chunk_bytes(v, chunk);
        if (fread(v->plain, 1, n, from) != n) return 1;
        make_nonce(v, chunk, nonce);
        crypto_aead_xchacha20poly1305_ietf_encrypt(v->sealed, NULL, v->plain, n, v->head, HEAD, NULL, nonce, v->key);
        if (fwrite(v->sealed, 1, n + SEAL, out) != n + SEAL) return 1;
    }
    return 0;
}

static int encrypt_file(vault *v, const char *key, const char *name, const char *out_name) {
    *v = (vault){.chunk = UINT64_MAX};
    if (read_key(v, key)) return 1;
    FILE *from = fopen(name, "rb"), *out = fopen(out_name, "wb");
    int failed = !from || !out || fseek(from, 0, SEEK_END);
    if (!failed) {
        v->n_bytes = (uint64_t)ftell(from);
        memcpy(v->head, "FACETENC", 8);
        write_u64(v->head + 8, v->n_bytes);
        randombytes_buf(v->head + 16, 16);
        failed = fseek(from, 0, SEEK_SET) || fwrite(v->head, 1, HEAD, out) != HEAD || seal_all(v, from, out);
    }
    if (from) fclose(from);
    if (out && fclose(out)) failed = 1;
    return failed ? fail("cannot encrypt", name) : 0;
}

static bool print_text(void *ctx, const facet_token *token) {
    (void)ctx;
    if (!token->control) fwrite(token->text, 1, token->n_bytes, stdout);
    return fflush(stdout) == 0;
}

static facet_status answer(facet_model *model, const char *question, facet_error *error) {
    facet_engine *engine = NULL;
    facet_session *session = NULL;
    facet_prompt *prompt = NULL;
    facet_chat chat;
    facet_generation generation;
    size_t n;
    facet_value *message = facet_value_object(), *messages = facet_value_array();
    facet_value_set(message, "role", 4, facet_value_string("user", 4));
    facet_value_set(message, "content", 7, facet_value_string(question, strlen(question)));
    facet_value_append(messages, message);
    facet_chat_defaults(&chat);
    chat.messages = messages;
    facet_generation_defaults(&generation);
    generation.sampling.temperature = 0;
    facet_status status = facet_engine_new(&engine, model, NULL, error);
    if (!status) status = facet_session_new(&session, engine, NULL, error);
    if (!status) status = facet_chat_render(model, &chat, &prompt, error);
    const int32_t *tokens = prompt ? facet_prompt_tokens(prompt, &n) : NULL;
    if (!status) status = facet_session_sync(session, tokens, n, NULL, NULL, NULL, error);
    if (!status) status = facet_session_generate(session, &generation, print_text, NULL, NULL, error);
    if (!status) puts("");
    facet_prompt_free(prompt);
    facet_value_free(messages);
    facet_session_free(session);
    facet_engine_free(engine);
    return status;
}

static int ask(vault *v, const char *key, const char *name, const char *question) {
    facet_model *model;
    facet_error error;
    if (open_vault(v, key, name)) {
        close_vault(v);
        return 1;
    }
    facet_source source = {
        .size = sizeof source, .n_bytes = v->n_bytes, .read = read_vault, .release = close_vault, .ctx = v};
    facet_status status = facet_model_open_source(&model, &source, NULL, &error);
    if (!status) status = answer(model, question, &error);
    facet_model_free(model);
    return status ? fail("cannot answer:", error.message) : 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    vault *v = malloc(sizeof *v);
    int status = 2;
    if (!v || sodium_init() < 0) return fail("no memory, or no", "libsodium");
    if (!strcmp(what, "key") && argc == 3)
        status = make_key(argv[2]);
    else if (!strcmp(what, "encrypt") && argc == 5)
        status = encrypt_file(v, argv[2], argv[3], argv[4]);
    else if (!strcmp(what, "ask") && argc == 5)
        status = ask(v, argv[2], argv[3], argv[4]);
    else
        fprintf(stderr, "usage: encrypted key KEY | encrypt KEY MODEL.gguf OUT | ask KEY OUT QUESTION\n");
    free(v);
    return status;
}
