/* SPDX-License-Identifier: Apache-2.0 */
/* FAST: text, merges, chunks, and what becomes of sequences that spell none. Ids are compared with the published code's in bench/. */
#include <math.h>

#include "codecs/fast.h"
#include "codecs/fast_internal.h"
#include "test_support.h"

enum { H = 16, D = 3, CHUNKS = 200 };

static vq_fast_form form_of(uint32_t vocabulary)
{
    vq_fast_form form = VQ_FAST_FORM_INIT;
    form.horizon = H;
    form.dimensions = D;
    form.vocabulary = vocabulary;
    return form;
}

static void make_chunks(float *chunks, size_t n, uint64_t seed)
{
    for (size_t c = 0; c < n; c++)
        for (int i = 0; i < D; i++) {
            const double at = 2 * test_uniform(&seed) - 1, slope = test_uniform(&seed) - 0.5;
            for (int t = 0; t < H; t++)
                chunks[(c * H + (size_t)t) * D + (size_t)i] =
                    (float)(at + slope * t / H + 0.05 * sin(t + 7 * at));
        }
}

static vq_fast *trained(void)
{
    static float chunks[CHUNKS * H * D];
    const vq_fast_form form = form_of(300);
    vq_fast *fast;
    make_chunks(chunks, CHUNKS, 1);
    assert_ok(vq_fast_train(&fast, chunks, CHUNKS, &form));
    return fast;
}

static void pieces_are_those_of_gpt2(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t sizes[8];
    } cases[] = {{"Hello world", {5, 6}},
                 {"it's we'll o'x", {2, 2, 3, 3, 2, 1, 1}},
                 {"a  b", {1, 1, 2}},
                 {"a \t\nb", {1, 2, 1, 1}},
                 {"12ab!?", {2, 2, 2}},
                 {"  ", {2}},
                 {" 7", {2}},
                 {"!'s", {2, 1}},
                 {"\t'd", {1, 2}}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint32_t text[32];
        const size_t count = strlen(cases[c].text);
        for (size_t i = 0; i < count; i++)
            text[i] = (unsigned char)cases[c].text[i];
        size_t at = 0;
        for (size_t p = 0; cases[c].sizes[p]; p++) {
            assert_int_equal(vqi_next_piece(text, at, count), cases[c].sizes[p]);
            at += cases[c].sizes[p];
        }
        assert_int_equal(vqi_next_piece(text, at, count), 0);
    }
}

static void bytes_and_characters_are_one_to_one(void **state)
{
    (void)state;
    for (unsigned b = 0; b < 256; b++)
        assert_int_equal(vqi_character_byte(vqi_byte_character((uint8_t)b)), b);
    assert_int_equal(vqi_byte_character(' '), 0x120);
    assert_int_equal(vqi_byte_character(0), 0x100);
    assert_int_equal(vqi_character_byte(0xad), -1);
    uint32_t c;
    for (uint32_t i = 0; i < 0xd800; i++) {
        uint8_t bytes[4];
        const unsigned size = vqi_utf8_put(bytes, i);
        assert_int_equal(vqi_utf8_get(&c, bytes, size), size);
        assert_int_equal(c, i);
        assert_int_equal(vqi_utf8_get(&c, bytes, size - 1), 0);
    }
    assert_int_equal(vqi_utf8_get(&c, (const uint8_t *)"\xc0\x80", 2), 0);
    assert_int_equal(vqi_utf8_get(&c, (const uint8_t *)"\xed\xa0\x80", 3), 0);
    assert_int_equal(vqi_utf8_get(&c, (const uint8_t *)"\xf5\x80\x80\x80", 4), 0);
}

/* "abab abab abac": by hand, merges are a b, ab ab, then nothing twice but " abab". */
static void merges_by_hand(void **state)
{
    (void)state;
    static const char *const words[] = {"abab", "\001abab", "abac"};
    const uint64_t counts[] = {2, 3, 1};
    vqi_texts texts = {0};
    vqi_bpe bpe = {0};
    for (int i = 0; i < 3; i++)
        assert_ok(vqi_texts_add(&texts, (const uint8_t *)words[i], strlen(words[i])));
    assert_ok(vqi_bpe_train(&bpe, &texts, counts, 0, 1000));
    /* The alphabet is a, b, c and the character of byte 1; a b occurs 11 times, ab ab 5 times, \1 abab 3 times. */
    assert_int_equal(bpe.vocabulary.count, 7);
    assert_int_equal(bpe.merge_count, 3);
    assert_int_equal(bpe.merges[0].left, 0);
    assert_int_equal(bpe.merges[0].right, 1);
    assert_int_equal(bpe.merges[1].left, 4);
    assert_int_equal(bpe.merges[1].right, 4);
    assert_int_equal(bpe.merges[2].left, 3);
    assert_int_equal(bpe.merges[2].right, 5);
    uint32_t ids[8], scratch[16];
    assert_int_equal(vqi_bpe_encode(ids, &bpe, (const uint8_t *)"ababa", 5, scratch), 2);
    assert_int_equal(ids[0], 5);
    assert_int_equal(ids[1], 0);
    vqi_bpe_clear(&bpe);
    vqi_texts_clear(&texts);
}

static void chunks_come_back(void **state)
{
    (void)state;
    vq_fast *fast = trained(), *read;
    vq_bytes json;
    vq_fast_form form;
    float chunks[20 * H * D], back[H * D];
    uint32_t ids[3 * H * D], again[3 * H * D];
    assert_int_equal(vq_fast_max_tokens(fast), 3 * H * D);
    assert_ok(vq_fast_serialize(&json, fast));
    vq_fast_get_form(&form, fast);
    assert_true(form.scale == 10 && form.min_token < 0);
    assert_ok(vq_fast_parse(&read, json.data, json.size, &form, "tokenizer.json", NULL));
    make_chunks(chunks, 20, 77);
    for (int c = 0; c < 20; c++) {
        size_t n, m, clamped;
        int malformed;
        assert_ok(vq_fast_encode(ids, &n, &clamped, fast, chunks + c * H * D));
        assert_ok(vq_fast_encode(again, &m, NULL, read, chunks + c * H * D));
        assert_int_equal(n, m);
        assert_memory_equal(ids, again, n * sizeof *ids);
        assert_true(n < H * D);
        assert_ok(vq_fast_decode(back, &malformed, read, ids, n, VQ_FAST_STRICT, NULL));
        assert_int_equal(malformed, 0);
        assert_int_equal(vqi_fast_chunk_tokens(fast, ids, 0, n), n);
        for (int i = 0; !clamped && i < H * D;
             i++) /* no coefficient is off by more than half a step */
            assert_true(fabsf(back[i] - chunks[c * H * D + i]) < 0.05f * 4);
    }
    chunks[5] = NAN;
    size_t n;
    assert_status(VQ_E_NONFINITE, vq_fast_encode(ids, &n, NULL, fast, chunks));
    for (int i = 0; i < H * D; i++)
        chunks[i] = i % 2 ? 3e38f : -1e30f;
    size_t clamped;
    assert_ok(
        vq_fast_encode(ids, &n, &clamped, fast, chunks)); /* held at the ends of the alphabet */
    assert_true(clamped > 0);
    assert_ok(vq_fast_decode(back, NULL, fast, ids, n, VQ_FAST_STRICT, NULL));
    vq_bytes_clear(&json);
    vq_fast_free(read);
    vq_fast_free(fast);
}

static void malformed_sequences_follow_the_policy(void **state)
{
    (void)state;
    vq_fast *fast = trained();
    vq_fast_form form;
    float chunk[H * D], back[H * D], whole[H * D];
    const float last[D] = {0.25f, -3, 7};
    uint32_t ids[6 * H * D];
    size_t n;
    int malformed;
    vq_fast_get_form(&form, fast);
    make_chunks(chunk, 1, 5);
    assert_ok(vq_fast_encode(ids, &n, NULL, fast, chunk));
    assert_ok(vq_fast_decode(whole, NULL, fast, ids, n, VQ_FAST_STRICT, NULL));
    memset(back, 0x55, sizeof back);
    assert_status(VQ_E_FORMAT,
                  vq_fast_decode(back, &malformed, fast, ids, n - 1, VQ_FAST_STRICT, NULL));
    assert_int_equal(malformed, 1);
    for (size_t i = 0; i < sizeof back; i++)
        assert_int_equal(((uint8_t *)back)[i], 0x55); /* untouched */
    assert_ok(vq_fast_decode(back, &malformed, fast, ids, n - 1, VQ_FAST_HOLD, last));
    assert_int_equal(malformed, 1);
    for (int t = 0; t < H; t++)
        assert_memory_equal(back + t * D, last, sizeof last);
    /* Surplus tokens are dropped: the chunk is the one before them. */
    memcpy(ids + n, ids, n * sizeof *ids);
    assert_ok(vq_fast_decode(back, &malformed, fast, ids, 2 * n, VQ_FAST_PAD, NULL));
    assert_int_equal(malformed, 1);
    assert_memory_equal(back, whole, sizeof back);
    assert_status(VQ_E_FORMAT, vq_fast_decode(back, NULL, fast, ids, 2 * n, VQ_FAST_STRICT, NULL));
    ids[n] = form.vocabulary;
    assert_status(VQ_E_FORMAT, vq_fast_decode(back, NULL, fast, ids, n + 1, VQ_FAST_STRICT, NULL));
    assert_non_null(strstr(vq_last_error(), "vocabulary"));
    assert_ok(vq_fast_decode(back, NULL, fast, ids, 0, VQ_FAST_PAD, NULL)); /* all missing: 0 */
    for (int i = 0; i < H * D; i++)
        assert_true(back[i] == 0);
    assert_status(VQ_E_ARG, vq_fast_decode(back, NULL, fast, ids, n, VQ_FAST_HOLD, NULL));
    uint64_t random = 3;
    for (int trial = 0; trial < 3000; trial++) { /* any tokens, any policy */
        const size_t count = test_random(&random) % (2 * H * D);
        for (size_t i = 0; i < count; i++)
            ids[i] = (uint32_t)(test_random(&random) % (form.vocabulary + 1));
        const vq_fast_policy policy = (vq_fast_policy)(trial % 3);
        const vq_status status = vq_fast_decode(back, &malformed, fast, ids, count, policy, last);
        assert_true(policy == VQ_FAST_STRICT ? (status == VQ_E_FORMAT) == malformed
                                             : status == VQ_OK);
        for (int i = 0; !status && i < H * D; i++)
            assert_true(isfinite(back[i]));
    }
    vq_fast_free(fast);
}

static void bad_tokenizers_are_refused(void **state)
{
    (void)state;
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define AROUND     "{\"pre_tokenizer\":" BYTE_LEVEL ",\"decoder\":" BYTE_LEVEL ",\"model\":"
    static const struct {
        const char *json;
        vq_status status;
    } cases[] = {
        {"", VQ_E_FORMAT},
        {"{}", VQ_E_FORMAT},
        {"{\"model\":{\"type\":\"WordPiece\"}}", VQ_E_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", VQ_E_UNSUPPORTED},
        {AROUND "{\"vocab\":{},\"merges\":[]}}", VQ_E_FORMAT},
        {AROUND "{\"vocab\":{\"a\":1},\"merges\":[]}}", VQ_E_FORMAT},
        {AROUND "{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", VQ_E_FORMAT},
        {AROUND "{\"vocab\":{\"a\":-1},\"merges\":[]}}", VQ_E_FORMAT},
        {AROUND "{\"vocab\":{\"a\":0},\"merges\":7}}", VQ_E_FORMAT},
        {AROUND "{\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", VQ_E_FORMAT},
        {AROUND "{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", VQ_E_FORMAT},
        {AROUND "{\"vocab\":{\"a\":0},\"unk_token\":\"a\",\"merges\":[]}}", VQ_E_UNSUPPORTED},
        {AROUND "{\"vocab\":{\"\\ue000\":0},\"merges\":[]}}", VQ_E_UNSUPPORTED},
        {AROUND "{\"vocab\":{\"\xc3\xbf\":0},\"merges\":[]}}",
         VQ_E_FORMAT}, /* no character can be said */
        {AROUND "{\"vocab\":{\"a\":0,\"\\u0000\":1},\"merges\":[]}}", VQ_OK},
        {AROUND "{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}", VQ_OK},
    };
    const vq_fast_form form = form_of(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vq_fast *fast;
        const char *json = cases[i].json;
        assert_status(cases[i].status, vq_fast_parse(&fast, json, strlen(json), &form, NULL, NULL));
        vq_fast_free(fast);
    }
    vq_fast_form bad = form;
    vq_fast *fast;
    float chunk[H * D] = {0};
    bad.horizon = 0;
    assert_status(VQ_E_ARG, vq_fast_train(&fast, chunk, 1, &bad));
    chunk[0] = 1e6f;
    assert_status(VQ_E_ARG, vq_fast_train(&fast, chunk, 1, &form)); /* an alphabet of millions */
    assert_status(VQ_E_ARG, vq_fast_train(&fast, chunk, 0, &form));
}

static vq_status train_and_use(void *context)
{
    const float *chunks = context;
    const vq_fast_form form = form_of(120);
    vq_fast *fast = NULL, *read = NULL;
    vq_bytes json = {0};
    uint32_t ids[3 * H * D];
    float back[H * D];
    size_t n = 0;
    vq_status status = vq_fast_train(&fast, chunks, 4, &form);
    if (!status)
        status = vq_fast_serialize(&json, fast);
    if (!status)
        status = vq_fast_parse(&read, json.data, json.size, &form, NULL, NULL);
    if (!status)
        status = vq_fast_encode(ids, &n, NULL, fast, chunks);
    if (!status)
        status = vq_fast_decode(back, NULL, fast, ids, n, VQ_FAST_STRICT, NULL);
    vq_fast_free(fast);
    vq_fast_free(read);
    vq_bytes_clear(&json);
    return status;
}

static void allocation_failures(void **state)
{
    (void)state;
    static float chunks[4 * H * D];
    make_chunks(chunks, 4, 3);
    test_allocation_failures(train_and_use, chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_those_of_gpt2),
        cmocka_unit_test(bytes_and_characters_are_one_to_one),
        cmocka_unit_test(merges_by_hand),
        cmocka_unit_test(chunks_come_back),
        cmocka_unit_test(malformed_sequences_follow_the_policy),
        cmocka_unit_test(bad_tokenizers_are_refused),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
