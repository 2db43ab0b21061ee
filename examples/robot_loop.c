/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control loop that sends an arm's actions as codes: nothing is allocated after the start, every code array gives an action that the
 * arm may get, and a chunk takes microseconds.
 *
 *     cc robot_loop.c $(pkg-config --cflags --libs libvq) -o robot_loop
 *     ./robot_loop demonstration.npy [model.safetensors]
 */
#include <stdio.h>
#include <stdlib.h>

#include "codecs/action.h"
#include "io/actions.h"

/* What is opened before the loop begins. */
typedef struct robot {
    vq_codec *codec;
    vq_action *action;
    vq_signal *demonstration;
    uint32_t *codes;
    float *chunk;
} robot;

static int complain(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, vq_last_error());
    return 1;
}

/* The ranges of the joints: those of the model, or for the built-in one, which knows no arm, of the demonstration. */
static vq_status open_action(robot *r)
{
    vq_action_opts opts = VQ_ACTION_OPTS_INIT;
    if (!vq_action_open(&r->action, r->codec, &opts))
        return VQ_OK;
    vq_dimensions *ranges;
    const float *rows = r->demonstration->data;
    const size_t steps = r->demonstration->shape[0];
    vq_status status = vq_dimensions_create(&ranges, r->demonstration->shape[1]);
    if (!status)
        status = vq_dimensions_fit(ranges, &rows, &steps, 1);
    opts.dimensions = ranges;
    if (!status)
        status = vq_action_open(&r->action, r->codec, &opts);
    vq_dimensions_free(ranges);
    return status;
}

static int open_robot(robot *r, const char *path, const char *model)
{
    if (vq_actions_read(&r->demonstration, path, NULL) || vq_codec_open(&r->codec, model, NULL))
        return complain(path);
    if (r->demonstration->ndim != 2) {
        fprintf(stderr, "%s: one episode is wanted, [T, D]\n", path);
        return 1;
    }
    if (open_action(r))
        return complain(model);
    r->codes = malloc(vq_action_codes(r->action) * sizeof *r->codes);
    r->chunk =
        malloc(vq_action_horizon(r->action) * vq_action_dimensions(r->action) * sizeof *r->chunk);
    return !r->codes || !r->chunk;
}

static void close_robot(robot *r)
{
    vq_action_free(r->action);
    vq_codec_free(r->codec);
    vq_signal_free(r->demonstration);
    free(r->codes);
    free(r->chunk);
}

/* The loop: here one side encodes what the policy wants, the other decodes what the arm does. */
static int run(robot *r)
{
    const size_t horizon = vq_action_horizon(r->action), d = vq_action_dimensions(r->action);
    const size_t steps = r->demonstration->shape[0];
    double worst = 0;
    for (size_t t = 0; t < steps; t += horizon) {
        const float *wanted = r->demonstration->data + t * d;
        const size_t n = steps - t < horizon ? steps - t : horizon;
        if (vq_action_encode(r->codes, r->action, wanted, n) ||
            vq_action_decode(r->chunk, r->action, r->codes))
            return complain("loop");
        for (size_t i = 0; i < n * d; i++) {
            const double off = (double)r->chunk[i] - (double)wanted[i];
            worst = off > worst ? off : -off > worst ? -off : worst;
        }
    }
    printf("%zu steps of %zu joints, %zu codes for %zu steps, largest error %.4g\n", steps, d,
           vq_action_codes(r->action), horizon, worst);
    return 0;
}

int main(int argc, char **argv)
{
    robot r = {0};
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: robot_loop DEMONSTRATION [MODEL]\n");
        return 2;
    }
    const int failed = open_robot(&r, argv[1], argc == 3 ? argv[2] : "action") || run(&r);
    close_robot(&r);
    return failed;
}
