/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer.json from any bytes. One that is read is written and read again to the same file; its tokens spell the chunk that they
 * came from; and any tokens have a chunk by every policy but strict. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codecs/fast.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HORIZON = 4, DIMENSIONS = 3, NUMBERS = HORIZON * DIMENSIONS, TOKENS = 3 * NUMBERS };

static const vq_fast_form form = {.struct_size = sizeof(vq_fast_form),
                                  .horizon = HORIZON,
                                  .dimensions = DIMENSIONS,
                                  .min_token = -20};

static void write_again(const vq_fast *fast)
{
    vq_bytes once, twice;
    vq_fast *again;
    if (vq_fast_serialize(&once, fast) ||
        vq_fast_parse(&again, once.data, once.size, &form, "written", NULL) ||
        vq_fast_serialize(&twice, again) || once.size != twice.size ||
        memcmp(once.data, twice.data, once.size) != 0)
        abort();
    vq_bytes_clear(&once);
    vq_bytes_clear(&twice);
    vq_fast_free(again);
}

static void decode(const vq_fast *fast, const uint32_t *ids, size_t count, int whole)
{
    static const float last[DIMENSIONS] = {0.25f, -1, 0};
    float chunk[NUMBERS];
    for (int policy = VQ_FAST_STRICT; policy <= VQ_FAST_HOLD; policy++) {
        int malformed = 0;
        const vq_status status =
            vq_fast_decode(chunk, &malformed, fast, ids, count, (vq_fast_policy)policy, last);
        if (whole && malformed)
            abort();
        if (status && (policy != VQ_FAST_STRICT || whole || status != VQ_E_FORMAT))
            abort();
        for (size_t i = 0; !status && i < NUMBERS; i++)
            if (!isfinite(chunk[i]))
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vq_fast *fast;
    if (vq_fast_parse(&fast, data, size, &form, "input", NULL))
        return 0;
    if (vq_fast_max_tokens(fast) != TOKENS)
        abort();
    write_again(fast);
    float chunk[NUMBERS];
    uint32_t ids[TOKENS];
    size_t count = 0;
    for (size_t i = 0; i < NUMBERS; i++)
        chunk[i] = (float)data[i % size] / 100 - 1;
    if (!vq_fast_encode(ids, &count, NULL, fast, chunk))
        decode(fast, ids, count, 1);
    for (size_t i = 0; i < TOKENS; i++)
        ids[i] = data[size - 1 - i % size];
    decode(fast, ids, TOKENS, 0);
    decode(fast, ids, 0, 0);
    vq_fast_free(fast);
    return 0;
}
