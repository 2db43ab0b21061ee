/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/ranks_support.h  Ranks that are threads of this process, and a communicator between them. */
#ifndef RANKS_SUPPORT_H
#define RANKS_SUPPORT_H

#include <pthread.h>

#include "test_support.h"

enum { RANKS_MOST = 8 };

/** Where the ranks meet. */
typedef struct ranks_hall {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t size, here, leaving;
    uint64_t meeting; /**< number of the one that is awaited */
    long fail_at;     /**< the meeting that fails in all ranks; -1 = none */
    int64_t *values;  /**< combined so far */
    size_t count;
    vq_reduction how;
    int unlike; /**< ranks came with different questions, or a sum overflowed */
} ranks_hall;

/* @return 1 if a sum overflows. */
static inline int ranks_combine(int64_t *into, const int64_t *values, size_t count,
                                vq_reduction how)
{
    int overflow = 0;
    for (size_t i = 0; i < count; i++)
        if (how == VQ_REDUCE_SUM)
            overflow |= __builtin_add_overflow(into[i], values[i], &into[i]);
        else if (how == VQ_REDUCE_MIN ? values[i] < into[i] : values[i] > into[i])
            into[i] = values[i];
    return overflow;
}

static inline int ranks_allreduce(void *context, int64_t *values, size_t count, vq_reduction how)
{
    ranks_hall *hall = context;
    pthread_mutex_lock(&hall->lock);
    while (hall->leaving) /* the last meeting is not over */
        pthread_cond_wait(&hall->changed, &hall->lock);
    const uint64_t meeting = hall->meeting;
    if (!hall->here) {
        hall->values = malloc(count * sizeof *values);
        memcpy(hall->values, values, count * sizeof *values);
        hall->count = count;
        hall->how = how;
    } else {
        hall->unlike |= count != hall->count || how != hall->how ||
                        ranks_combine(hall->values, values, count, how);
    }
    if (++hall->here == hall->size) {
        hall->leaving = hall->size;
        hall->here = 0;
        hall->meeting++;
        pthread_cond_broadcast(&hall->changed);
    }
    while (hall->meeting == meeting)
        pthread_cond_wait(&hall->changed, &hall->lock);
    if (!hall->unlike)
        memcpy(values, hall->values, count * sizeof *values);
    if (!--hall->leaving) {
        free(hall->values);
        pthread_cond_broadcast(&hall->changed);
    }
    const int failed = hall->unlike || (long)meeting == hall->fail_at;
    pthread_mutex_unlock(&hall->lock);
    return failed;
}

/** One rank's work. */
typedef struct ranks_member {
    vq_communicator comm;
    void (*work)(struct ranks_member *self);
    void *context;
    vq_status status;
    char error[256];
} ranks_member;

static inline void *ranks_run(void *context)
{
    ranks_member *member = context;
    member->work(member);
    snprintf(member->error, sizeof member->error, "%s", member->status ? vq_last_error() : "");
    return NULL;
}

/** Let `size` ranks work at once. @return the number of meetings. */
static inline long ranks_meet(ranks_member *members, uint32_t size,
                              void (*work)(ranks_member *self), void *context, long fail_at)
{
    ranks_hall hall = {.size = size, .fail_at = fail_at};
    pthread_t threads[RANKS_MOST];
    pthread_mutex_init(&hall.lock, NULL);
    pthread_cond_init(&hall.changed, NULL);
    for (uint32_t i = 0; i < size; i++) {
        members[i] = (ranks_member){.comm = VQ_COMMUNICATOR_INIT, .work = work, .context = context};
        members[i].comm.rank = i;
        members[i].comm.size = size;
        members[i].comm.allreduce = ranks_allreduce;
        members[i].comm.context = &hall;
        assert_int_equal(pthread_create(&threads[i], NULL, ranks_run, &members[i]), 0);
    }
    for (uint32_t i = 0; i < size; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&hall.lock);
    pthread_cond_destroy(&hall.changed);
    assert_int_equal(hall.here, 0);
    return (long)hall.meeting;
}

#endif
