/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a language model says next, by a head that reads a fraction of its output matrix: for some hidden states the token that came in the
 * text, the best one, and one drawn with temperature 0.8 and top-p 0.9.
 *
 *     cc sample_tokens.c $(pkg-config --cflags --libs libvq) -o sample_tokens
 *     ./sample_tokens head.safetensors states.safetensors vocab.tsv [seed]
 *
 * The files hold the tensors "rows" [V, d]; "hidden" [n, d] and "target" [n] (int32); and a token's text on each line, up to a tab.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"
#include "vq/logits.h"

enum { LENGTH = 24 /* bytes of a token's text that are shown */, SHOWN = 16 };

static int complain(const char *what)
{
    fprintf(stderr, "sample_tokens: %s: %s\n", what, vq_last_error());
    return 1;
}

/* The texts of V tokens, LENGTH + 1 bytes each; those without a line stay empty. */
static char (*read_texts(const char *path, size_t v))[LENGTH + 1]
{
    char line[1024], (*texts)[LENGTH + 1] = calloc(v, sizeof *texts);
    FILE *file = fopen(path, "r");
    for (size_t i = 0; texts && file && i < v && fgets(line, sizeof line, file); i++)
        memcpy(texts[i], line, strcspn(line, "\t\n") < LENGTH ? strcspn(line, "\t\n") : LENGTH);
    if (file)
        fclose(file);
    return texts;
}

/* A rerank head, made with the first states: where the model's uncertainty is. */
static vq_status make_head(vq_head **head, const vq_tensor *rows, const vq_tensor *hidden)
{
    vq_head_opts opts = VQ_HEAD_OPTS_INIT;
    vq_tensor first = *hidden;
    first.shape[0] = hidden->shape[0] / 2;
    first.count = first.shape[0] * hidden->shape[1];
    opts.states = &first;
    opts.codes = (uint32_t)(rows->shape[0] / 32 + 1);
    opts.iterations = 4;
    return vq_head_build(head, rows, &opts);
}

static vq_status show(const vq_head *head, const float *states, const int32_t *targets,
                      char (*texts)[LENGTH + 1], uint64_t seed)
{
    uint32_t best[SHOWN], drawn[SHOWN];
    float log_probs[SHOWN];
    vq_head_report report;
    vq_head_info info = VQ_HEAD_INFO_INIT;
    vq_head_sample_opts how = VQ_HEAD_SAMPLE_OPTS_INIT;
    how.temperature = 0.8f;
    how.top_p = 0.9f;
    how.seed = seed;
    vq_status status = vq_head_topk(best, NULL, NULL, &report, head, states, SHOWN, 1, NULL);
    if (!status)
        status = vq_head_sample(drawn, log_probs, NULL, head, states, SHOWN, &how, NULL);
    if (status)
        return status;
    vq_head_get_info(&info, head);
    printf("%-24s %-24s %-24s log-probability\n", "text", "best", "drawn");
    for (size_t i = 0; i < SHOWN; i++)
        printf("%-24s %-24s %-24s %.3f\n", texts[targets[i]], texts[best[i]], texts[drawn[i]],
               (double)log_probs[i]);
    printf("%.0f of %zu rows were scored for a token, and %u codewords\n",
           (double)report.rows / SHOWN, info.v, info.codes);
    return VQ_OK;
}

int main(int argc, char **argv)
{
    vq_tensors *layer = NULL, *text = NULL;
    vq_head *head = NULL;
    float *states = NULL;
    if (argc < 4) {
        fprintf(stderr, "usage: sample_tokens HEAD STATES VOCABULARY [SEED]\n");
        return 2;
    }
    if (vq_safetensors_read(&layer, argv[1], NULL) || vq_safetensors_read(&text, argv[2], NULL))
        return complain("files");
    const vq_tensor *rows = vq_tensors_find(layer, "rows"),
                    *hidden = vq_tensors_find(text, "hidden"),
                    *target = vq_tensors_find(text, "target");
    if (!rows || !hidden || !target || hidden->ndim != 2 || hidden->shape[0] < 2 * SHOWN ||
        target->count != hidden->shape[0] || target->dtype != VQ_DTYPE_I32) {
        fprintf(stderr, "sample_tokens: the files do not hold rows, hidden and target\n");
        return 1;
    }
    const size_t d = hidden->shape[1], from = hidden->shape[0] / 2; /* new to the head */
    const int32_t *targets = (const int32_t *)target->data + from;
    char(*texts)[LENGTH + 1] = read_texts(argv[3], rows->shape[0]);
    int failed = !texts || !(states = malloc(SHOWN * d * sizeof *states));
    for (size_t i = 0; i < SHOWN; i++)
        failed |= targets[i] < 0 || (size_t)targets[i] >= rows->shape[0];
    if (!failed &&
        (vq_tensor_to_f32(states, hidden, from * d, SHOWN * d) || make_head(&head, rows, hidden) ||
         show(head, states, targets, texts, argc > 4 ? strtoul(argv[4], NULL, 10) : 0)))
        failed = complain("head");
    vq_head_free(head);
    vq_tensors_free(layer);
    vq_tensors_free(text);
    free(states);
    free(texts);
    return failed;
}
