/* SPDX-License-Identifier: Apache-2.0 */
/* The files of models/ as read-only data; VQ_MODELS is their folder. Aligned like any array of ours. */
    .section .rodata
    .hidden vqi_model_image, vqi_model_image_end
    .global vqi_model_image, vqi_model_image_end
    .balign 64
vqi_model_image:
    .incbin VQ_MODELS "/image.safetensors"
vqi_model_image_end:
    .byte 0
#if defined(__linux__) && defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
