/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files in and out; every system call of a write is made to fail in turn. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "io/digest.h"
#include "io/file.h"
#include "io/file_ops_internal.h"
#include "test_support.h"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/libvq-test-file-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *in_folder(const char *name)
{
    static char path[4][128];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static int files_in_folder(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    closedir(dir);
    return count;
}

static void assert_content(const char *path, const char *expected)
{
    vq_bytes bytes;
    assert_ok(vq_file_read(&bytes, path, NULL));
    assert_int_equal(bytes.size, strlen(expected));
    if (bytes.size)
        assert_memory_equal(bytes.data, expected, bytes.size);
    vq_bytes_clear(&bytes);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    const char *path = in_folder("a");
    assert_ok(vq_file_write(path, "", 0, NULL));
    assert_content(path, "");
    assert_ok(vq_file_write(path, "hello", 5, NULL));
    assert_content(path, "hello");
    vq_write_opts opts = VQ_WRITE_OPTS_INIT;
    opts.no_replace = 1;
    assert_status(VQ_E_IO, vq_file_write(path, "other", 5, &opts));
    assert_content(path, "hello");
    assert_int_equal(files_in_folder(), 1);
    unlink(path);
}

static void modes_and_links_are_kept(void **state)
{
    (void)state;
    const char *path = in_folder("target"), *link = in_folder("link");
    struct stat info;
    const mode_t mask = umask(027);
    assert_ok(vq_file_write(path, "1", 1, NULL));
    umask(mask);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(symlink("target", link), 0);
    assert_ok(vq_file_write(link, "2", 1, NULL));
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_content(path, "2");
    unlink(link);
    unlink(path);
}

static void refusals_have_sentences(void **state)
{
    (void)state;
    vq_bytes bytes;
    assert_status(VQ_E_IO, vq_file_read(&bytes, in_folder("nothing"), NULL));
    assert_non_null(strstr(vq_last_error(), "nothing: cannot be opened"));
    assert_status(VQ_E_IO, vq_file_read(&bytes, folder, NULL));
    assert_non_null(strstr(vq_last_error(), "folder"));
    assert_status(VQ_E_IO, vq_file_write(folder, "x", 1, NULL));
    assert_status(VQ_E_IO, vq_file_write(in_folder("no/such/folder"), "x", 1, NULL));
    assert_status(VQ_E_IO, vq_file_write("/dev/full", "x", 1, NULL));
    assert_non_null(strstr(vq_last_error(), "space"));

    const char *path = in_folder("ten");
    assert_ok(vq_file_write(path, "0123456789", 10, NULL));
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_file_bytes = 10;
    assert_ok(vq_file_read(&bytes, path, &limits));
    vq_bytes_clear(&bytes);
    limits.max_file_bytes = 9;
    assert_status(VQ_E_LIMIT, vq_file_read(&bytes, path, &limits));
    assert_null(bytes.data);
    unlink(path);
}

/* A pipe has no size: more than the first guess must come through, and the limit must hold. */
static void pipes_are_read_to_their_end(void **state)
{
    (void)state;
    const char *path = in_folder("pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    for (int limited = 0; limited < 2; limited++) {
        char command[256];
        snprintf(command, sizeof command, "head -c 1000000 /dev/zero > %s &", path);
        assert_int_equal(system(command), 0);
        vq_limits limits = VQ_LIMITS_INIT;
        limits.max_file_bytes = limited ? 999999 : 1000000;
        vq_bytes bytes;
        assert_status(limited ? VQ_E_LIMIT : VQ_OK, vq_file_read(&bytes, path, &limits));
        assert_int_equal(bytes.size, limited ? 0 : 1000000);
        vq_bytes_clear(&bytes);
    }
    unlink(path);
}

/* Faults: the fail_at-th call of the table fails with `error`, or writes are short. */
static struct {
    long calls, fail_at;
    int error, short_writes, no_tmpfile;
} fault;

static int fails(void)
{
    if (fault.calls++ != fault.fail_at)
        return 0;
    errno = fault.error;
    return 1;
}

static int faulty_open(const char *path, int flags, mode_t mode)
{
    if (fault.no_tmpfile && (flags & O_DIRECTORY) && (flags & O_WRONLY)) {
        errno = EOPNOTSUPP; /* as on a file system without nameless files */
        return -1;
    }
    return fails() ? -1 : vqi_system_file_ops.open(path, flags, mode);
}

static ssize_t faulty_write(int fd, const void *data, size_t size)
{
    if (fails())
        return -1;
    return write(fd, data, fault.short_writes && size > 1 ? 1 : size);
}

static int faulty_fchmod(int fd, mode_t mode)
{
    return fails() ? -1 : fchmod(fd, mode);
}

static int faulty_fsync(int fd)
{
    return fails() ? -1 : fsync(fd);
}

static int faulty_close(int fd)
{
    const int failed = fails(), error = errno;
    close(fd);
    errno = error;
    return failed ? -1 : 0;
}

static int faulty_link(int fd, const char *path)
{
    return fails() ? -1 : vqi_system_file_ops.link_open(fd, path);
}

static int faulty_rename(const char *from, const char *to)
{
    return fails() ? -1 : rename(from, to);
}

static const vqi_file_ops faulty = {faulty_open,  faulty_write, faulty_fchmod, faulty_fsync,
                                    faulty_close, faulty_link,  faulty_rename, unlink};

static void sweep(int exists, int error, int short_writes, int no_tmpfile)
{
    const char *path = in_folder("file");
    for (long i = 0;; i++) {
        if (exists)
            assert_ok(vq_file_write(path, "old", 3, NULL));
        fault.calls = 0;
        fault.fail_at = i;
        fault.error = error;
        fault.short_writes = short_writes;
        fault.no_tmpfile = no_tmpfile;
        const vq_status status = vqi_file_write(&faulty, path, "new!", 4, NULL);
        const int fired = fault.calls > i;
        if (status == VQ_OK)
            assert_content(path, "new!");
        else {
            assert_int_equal(status, VQ_E_IO);
            if (exists)
                assert_content(path, "old");
            else
                assert_int_equal(access(path, F_OK), -1);
        }
        assert_int_equal(files_in_folder(), status == VQ_OK || exists);
        unlink(path);
        if (!fired) {
            assert_ok(status);
            break;
        }
    }
}

static void every_call_may_fail(void **state)
{
    (void)state;
    const int errors[] = {EIO, ENOSPC, EINTR};
    for (int exists = 0; exists < 2; exists++)
        for (size_t e = 0; e < 3; e++)
            for (int short_writes = 0; short_writes < 2; short_writes++)
                for (int no_tmpfile = 0; no_tmpfile < 2; no_tmpfile++)
                    sweep(exists, errors[e], short_writes, no_tmpfile);
}

static vq_status write_and_read(void *context)
{
    vq_status status = vq_file_write(context, "data", 4, NULL);
    vq_bytes bytes = {NULL, 0};
    if (!status)
        status = vq_file_read(&bytes, context, NULL);
    vq_bytes_clear(&bytes);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s", in_folder("memory"));
    test_allocation_failures(write_and_read, path);
    unlink(path);
}

static void digests_have_their_published_values(void **state)
{
    (void)state;
    uint8_t bytes[32], digest[VQ_SHA256_SIZE];
    const uint32_t masks[] = {0, UINT32_MAX};
    for (size_t m = 0; m < 2; m++) {
        vq_cpu_set_mask(masks[m]);
        assert_int_equal(vq_crc32c(0, "123456789", 9), 0xe3069283);
        /* RFC 3720, B.4: 32 bytes of zeros, of ones, and rising. */
        memset(bytes, 0, 32);
        assert_int_equal(vq_crc32c(0, bytes, 32), 0x8a9136aa);
        memset(bytes, 0xff, 32);
        assert_int_equal(vq_crc32c(0, bytes, 32), 0x62a8ab43);
        for (int i = 0; i < 32; i++)
            bytes[i] = (uint8_t)i;
        assert_int_equal(vq_crc32c(0, bytes, 32), 0x46dd794e);
        for (size_t cut = 0; cut <= 32; cut++)
            assert_int_equal(vq_crc32c(vq_crc32c(0, bytes, cut), bytes + cut, 32 - cut),
                             0x46dd794e);
    }
    vq_cpu_set_mask(UINT32_MAX);
    vq_sha256(digest, "abc", 3); /* FIPS 180-4's example */
    const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
    assert_memory_equal(digest, abc, sizeof abc);
    vq_sha256(digest, "", 0);
    const uint8_t empty[] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14};
    assert_memory_equal(digest, empty, sizeof empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(modes_and_links_are_kept),
        cmocka_unit_test(refusals_have_sentences),
        cmocka_unit_test(pipes_are_read_to_their_end),
        cmocka_unit_test(every_call_may_fail),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(digests_have_their_published_values),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
