// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstring>
#include <vq/vq.h>

int main()
{
    const float codewords[] = {0, 1, 2, 3}, x[] = {1.2f, 2.9f};
    uint32_t codes[2] = {9, 9};
    vq_codebook *codebook;
    vq_status status =
        vq_codebook_create(&codebook, codewords, 4, 1, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    if (!status)
        status = vq_nearest(codes, nullptr, codebook, x, 2, nullptr);
    vq_codebook_free(codebook);
    std::printf("libvq %s: %u %u\n", vq_version(), codes[0], codes[1]);
    return status || codes[0] != 1 || codes[1] != 3 ||
           std::strcmp(vq_version(), EXPECTED_VERSION) != 0;
}
