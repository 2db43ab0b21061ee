/* SPDX-License-Identifier: Apache-2.0 */
/* The best of many tokens, and sums of exponentials: what is kept of logits that are not. */
#include <string.h>

#include "vq/logits_internal.h"

/* Is a worse than b? Then it is nearer to the root. */
static int worse(vqi_token a, vqi_token b)
{
    return vqi_token_before(b, a);
}

static void sift_down(vqi_token *heap, size_t count, size_t at)
{
    const vqi_token moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && worse(heap[child + 1], heap[child]))
            child++;
        if (!worse(heap[child], moved))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

void vqi_best_add(vqi_best *best, vqi_token token)
{
    vqi_token *heap = best->heap;
    if (best->count < best->most) {
        size_t at = best->count++;
        while (at && worse(token, heap[(at - 1) / 2])) {
            heap[at] = heap[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        heap[at] = token;
    } else if (best->most && vqi_token_before(token, heap[0])) {
        heap[0] = token;
        sift_down(heap, best->count, 0);
    }
}

void vqi_best_add_all(vqi_best *best, const float *logits, const uint32_t *ids,
                      const uint32_t *places, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (best->count < best->most || logits[i] >= best->heap[0].logit)
            vqi_best_add(best, (vqi_token){logits[i], ids[places ? places[i] : i]});
}

void vqi_best_sort(vqi_best *best)
{
    for (size_t left = best->count; left > 1; left--) {
        const vqi_token worst = best->heap[0];
        best->heap[0] = best->heap[left - 1];
        best->heap[left - 1] = worst;
        sift_down(best->heap, left - 1, 0);
    }
}

typedef float vec8 __attribute__((vector_size(32)));
typedef uint32_t bits8 __attribute__((vector_size(32)));

/* exp(x) for x <= 0, within 2 units of the last place down to -87, 0 below; Cody and Waite's reduction and the polynomial of
 * Cephes (Moshier). Lane by lane in IEEE arithmetic: the same bits everywhere. */
static inline __attribute__((always_inline)) void exponentials(vec8 *x)
{
    const float magic =
        0x1.8p23f; /* its last bit is 1: what is added to it becomes a whole number */
    const vec8 v = *x, shifted = v * 1.44269504f + magic, whole = shifted - magic;
    const vec8 r = (v - whole * 0.693359375f) - whole * -2.12194440e-4f;
    vec8 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r) * r + (r + 1.0f);
    bits8 bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000; /* the low bits of `shifted` are the whole number */
    vec8 power;
    memcpy(&power, &bits, sizeof power);
    const bits8 small = (bits8)(v < -87.0f);
    const vec8 e = p * power;
    bits8 out;
    memcpy(&out, &e, sizeof out);
    out &= ~small;
    memcpy(x, &out, sizeof out);
}

enum { LANES = 8 };

/* exp((x - largest) scale) of the next eight, 0 after the last. */
static inline __attribute__((always_inline)) void eight(float e[LANES], const float *x,
                                                        size_t count, float largest, float scale)
{
    for (size_t j = 0; j < LANES; j++)
        e[j] = j < count ? (x[j] - largest) * scale : -INFINITY;
    vec8 v;
    memcpy(&v, e, sizeof v);
    exponentials(&v);
    memcpy(e, &v, sizeof v);
}

static float largest_of(const float *x, size_t count)
{
    float largest = x[0];
    for (size_t i = 1; i < count; i++)
        largest = x[i] > largest ? x[i] : largest;
    return largest;
}

vqi_mass vqi_mass_of(const float *x, size_t count, float scale)
{
    if (!count)
        return VQI_NO_MASS;
    const float largest = largest_of(x, count);
    double sums[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < count; i += LANES) {
        float e[LANES];
        eight(e, x + i, count - i, largest, scale);
        for (size_t j = 0; j < LANES; j++)
            sums[j] += e[j];
    }
    for (size_t j = 0; j < LANES; j++)
        sum += sums[j];
    return (vqi_mass){largest * scale, sum};
}

size_t vqi_mass_pick(const float *x, size_t count, float scale, double u)
{
    const float largest = largest_of(x, count);
    const double wanted = vqi_mass_of(x, count, scale).sum * u;
    double reached = 0;
    for (size_t i = 0; i < count; i += LANES) {
        float e[LANES];
        eight(e, x + i, count - i, largest, scale);
        for (size_t j = 0; j < LANES && i + j < count; j++) {
            reached += e[j];
            if (reached > wanted)
                return i + j;
        }
    }
    return count - 1;
}

void vqi_mass_add(vqi_mass *mass, vqi_mass more)
{
    if (!(more.sum > 0))
        return;
    if (more.largest > mass->largest) {
        const vqi_mass less = *mass;
        *mass = more;
        more = less;
    }
    if (more.sum > 0)
        mass->sum += more.sum * exp((double)more.largest - mass->largest);
}
