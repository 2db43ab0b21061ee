/* SPDX-License-Identifier: Apache-2.0 */
#include "io/store_model.h"

#include "io/store_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

static bool possible(uint32_t start, uint32_t frequency)
{
    return frequency >= 1 && frequency <= VQ_MODEL_MOST && start < VQ_MODEL_TOTAL &&
           frequency <= VQ_MODEL_TOTAL - start;
}

vq_status vqi_model_pack(vqi_buffer *out, const vq_code_model *model, uint32_t stream,
                         const vq_tokens *tokens)
{
    const size_t positions = vq_tokens_positions(tokens), count = positions * tokens->levels;
    vqi_rans_symbol *symbols = vqi_alloc(count, sizeof *symbols);
    if (!symbols)
        return vqi_fail_nomem((unsigned long long)count * sizeof *symbols);
    vq_code_place place = {.stream = stream, .tokens = tokens};
    vq_status status = VQ_OK;
    for (size_t i = 0; !status && i < count; i++) {
        vqi_rans_symbol *s = &symbols[i];
        place.level = (uint32_t)(i / positions);
        place.position = i % positions;
        model->interval(model->context, &place, tokens->codes[i], &s->start, &s->freq);
        if (!possible(s->start, s->freq))
            status = vqi_fail(VQ_E_ARG,
                              "the model gives code %u at level %u, position %zu the interval from "
                              "%u of %u, which cannot be",
                              tokens->codes[i], place.level, place.position, s->start, s->freq);
    }
    uint8_t *to = status ? NULL : vqi_buffer_reserve(out, vqi_rans_bound(count));
    if (to)
        out->size += vqi_rans_encode(to, symbols, count);
    vq_free(symbols);
    return status || to ? status : VQ_E_NOMEM;
}

vq_status vqi_model_unpack(vq_tokens *tokens, const vq_code_model *model, uint32_t stream,
                           const uint8_t *bytes, size_t size)
{
    const size_t positions = vq_tokens_positions(tokens), count = positions * tokens->levels;
    vq_code_place place = {.stream = stream, .tokens = tokens};
    vqi_rans_decoder d;
    bool good = vqi_rans_begin(&d, bytes, size, count);
    for (size_t i = 0; good && i < count; i++) {
        uint32_t code = 0, start = 0, frequency = 0;
        const uint32_t value = vqi_rans_peek(&d);
        place.level = (uint32_t)(i / positions);
        place.position = i % positions;
        model->find(model->context, &place, value, &code, &start, &frequency);
        good = code < tokens->k[place.level] && possible(start, frequency) && value >= start &&
               value - start < frequency;
        if (good)
            vqi_rans_take(&d, start, frequency);
        tokens->codes[i] = code;
    }
    return good && vqi_rans_done(&d)
               ? VQ_OK
               : vqi_fail(VQ_E_FORMAT,
                          "the entropy coded stream breaks, or was written with another "
                          "model");
}
