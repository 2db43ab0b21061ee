/* SPDX-License-Identifier: Apache-2.0 */
/* Our verdict on JSON must be jansson's: where the two differ, memory would be blamed for a bad file. */
#include "io/json_internal.h"
#include "test_support.h"

static void verdicts_are_right(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        vqi_json_verdict verdict;
    } cases[] = {
        {"{}", VQI_JSON_VALID},
        {" { \"a\" : [ 1 , -2.5e+3 , true , null , \"\\u00e9\\n\" ] } \n", VQI_JSON_VALID},
        {"[[[]]]", VQI_JSON_VALID},
        {"[[[[]]]]", VQI_JSON_TOO_DEEP},
        {"\"\\ud83d\\ude00\"", VQI_JSON_VALID},
        {"\"\\ud83d\"", VQI_JSON_INVALID},
        {"\"\\ude00\\ud83d\"", VQI_JSON_INVALID},
        {"\"\\x\"", VQI_JSON_INVALID},
        {"\"a\nb\"", VQI_JSON_INVALID},
        {"\"a", VQI_JSON_INVALID},
        {"", VQI_JSON_INVALID},
        {"{\"a\":1,}", VQI_JSON_INVALID},
        {"{a:1}", VQI_JSON_INVALID},
        {"[1 2]", VQI_JSON_INVALID},
        {"[01]", VQI_JSON_INVALID},
        {"[1.]", VQI_JSON_INVALID},
        {"[-]", VQI_JSON_INVALID},
        {"[1e]", VQI_JSON_INVALID},
        {"[tru]", VQI_JSON_INVALID},
        {"{} x", VQI_JSON_INVALID},
        {"{\"a\" 1}", VQI_JSON_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t offset;
        if (vqi_json_check(&offset, cases[i].text, strlen(cases[i].text), 3) != cases[i].verdict)
            fail_msg("wrong verdict on %s", cases[i].text);
    }
}

/* Damaged at random, thousands of times: valid to us exactly where it is valid to jansson. */
static void verdicts_are_jansson_s(void **state)
{
    (void)state;
    static const char seed[] = "{\"a\":[1,-2.5e3,0.25,true,false,null,\"x\\u00e9\\\\\\\"y\"],"
                               "\"b\":{\"c\":\"\\ud83d\\ude00\",\"d\":[[],{}]}}";
    static const char alphabet[] = "{}[]:,\"\\u0123-+.tfn xad8c";
    uint64_t random = 1;
    int valid = 0;
    for (int trial = 0; trial < 20000; trial++) {
        char text[sizeof seed];
        memcpy(text, seed, sizeof seed);
        for (int edit = 0; edit <= trial % 3; edit++)
            text[test_random(&random) % (sizeof seed - 1)] =
                alphabet[test_random(&random) % (sizeof alphabet - 1)];
        size_t offset;
        const int ours = vqi_json_check(&offset, text, sizeof seed - 1, 100) == VQI_JSON_VALID;
        json_error_t error;
        json_t *json = json_loadb(text, sizeof seed - 1, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        const enum json_error_code code = json ? json_error_unknown : json_error_code(&error);
        if (code == json_error_numeric_overflow)
            continue; /* jansson stops there and says nothing of the rest */
        const int theirs = json || code == json_error_null_byte_in_key;
        if (ours != theirs)
            fail_msg("%s is %s to jansson (%s)", text, theirs ? "valid" : "invalid", error.text);
        valid += ours;
        json_decref(json);
    }
    assert_true(valid > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_are_right),
        cmocka_unit_test(verdicts_are_jansson_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
