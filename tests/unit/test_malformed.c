/* SPDX-License-Identifier: Apache-2.0 */
/* The files of tests/malformed, each named for its fault: every one gets its status and its sentence. */
#include <dirent.h>

#include "io/actions.h"
#include "io/file.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "io/sound.h"
#include "io/tokens_file.h"
#include "test_support.h"

static vq_status read_tokens(const char *path)
{
    vq_tokens *tokens;
    const vq_status status = vq_tokens_read(&tokens, NULL, path, NULL);
    assert_true((status == VQ_OK) == (tokens != NULL));
    vq_tokens_free(tokens);
    return status;
}

static vq_status read_safetensors(const char *path)
{
    vq_tensors *tensors;
    const vq_status status = vq_safetensors_read(&tensors, path, NULL);
    assert_true((status == VQ_OK) == (tensors != NULL));
    vq_tensors_free(tensors);
    return status;
}

static vq_status read_npy(const char *path)
{
    vq_tensors *tensors;
    const vq_status status = vq_npy_read(&tensors, path, "array", NULL);
    assert_true((status == VQ_OK) == (tensors != NULL));
    vq_tensors_free(tensors);
    return status;
}

static vq_status read_actions(const char *path)
{
    vq_signal *signal;
    const vq_status status = vq_actions_read(&signal, path, NULL);
    assert_true((status == VQ_OK) == (signal != NULL));
    vq_signal_free(signal);
    return status;
}

static vq_status read_sound(const char *path)
{
    vq_signal *sound;
    const vq_status status = vq_sound_read(&sound, path, NULL);
    assert_true((status == VQ_OK) == (sound != NULL));
    vq_signal_free(sound);
    return status;
}

static int count_files(const char *folder)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.' && strcmp(entry->d_name, "expected.txt") != 0;
    closedir(dir);
    return count;
}

static void check_folder(const char *name, vq_status (*read)(const char *path))
{
    char folder[512], path[768], line[512];
    snprintf(folder, sizeof folder, "%s/tests/malformed/%s", LIBVQ_SOURCE_DIR, name);
    snprintf(path, sizeof path, "%s/expected.txt", folder);
    FILE *table = fopen(path, "r");
    assert_non_null(table);
    int rows = 0;
    while (fgets(line, sizeof line, table)) {
        line[strcspn(line, "\n")] = '\0';
        const char *file = strtok(line, "\t"), *expected = strtok(NULL, "\t");
        const char *words = strtok(NULL, "\t");
        assert_non_null(words);
        snprintf(path, sizeof path, "%s/%s", folder, file);
        const vq_status status = read(path);
        if (strcmp(vq_status_name(status), expected))
            fail_msg("%s: %s (%s), not %s", file, vq_status_name(status), vq_last_error(),
                     expected);
        if (!strstr(vq_last_error(), words) || strncmp(vq_last_error(), path, strlen(path)))
            fail_msg("%s: the sentence \"%s\" should begin with the path and speak of \"%s\"", file,
                     vq_last_error(), words);
        rows++;
    }
    fclose(table);
    assert_int_equal(rows, count_files(folder));
    assert_true(rows >= 20);
}

static void malformed_tokens_are_refused(void **state)
{
    (void)state;
    check_folder("tokens", read_tokens);
}

static void malformed_safetensors_are_refused(void **state)
{
    (void)state;
    check_folder("safetensors", read_safetensors);
}

static void malformed_npy_is_refused(void **state)
{
    (void)state;
    check_folder("npy", read_npy);
}

static void malformed_actions_are_refused(void **state)
{
    (void)state;
    check_folder("actions", read_actions);
}

static void malformed_sound_is_refused(void **state)
{
    (void)state;
    check_folder("sound", read_sound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_tokens_are_refused),
        cmocka_unit_test(malformed_safetensors_are_refused),
        cmocka_unit_test(malformed_npy_is_refused),
        cmocka_unit_test(malformed_actions_are_refused),
        cmocka_unit_test(malformed_sound_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
