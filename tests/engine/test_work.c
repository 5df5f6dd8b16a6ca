/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers: what is accepted runs once, queues are bounded, a full one does not stand before the
 * other.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>

#include "engine/work.h"

struct job {
	struct work work;
	sem_t *started, *go; /* NULL: does not wait */
	atomic_int runs;
};

static void run_job(struct work *work)
{
	struct job *job = (struct job *)((char *)work - offsetof(struct job, work));

	if (job->started)
		sem_post(job->started);
	if (job->go)
		sem_wait(job->go);
	atomic_fetch_add(&job->runs, 1);
}

static struct workers *start(unsigned quick, unsigned decode, size_t queue_max)
{
	const struct workers_options options = {
		.threads = {[WORK_QUICK] = quick, [WORK_DECODE] = decode},
		.queue_max = {[WORK_QUICK] = queue_max, [WORK_DECODE] = queue_max},
	};
	struct workers *workers = NULL;

	cr_assert_eq(workers_new(&options, &workers), 0);
	return workers;
}

Test(work, everything_accepted_runs_once_before_the_drain_ends)
{
	static struct job jobs[500];
	struct workers *workers = start(3, 2, 1000);

	for (int i = 0; i < 500; i++) {
		jobs[i].work.run = run_job;
		cr_assert_eq(
		    workers_submit(workers, i % 2 ? WORK_QUICK : WORK_DECODE, &jobs[i].work), 0);
	}
	workers_drain(workers);
	for (int i = 0; i < 500; i++)
		cr_assert_eq(atomic_load(&jobs[i].runs), 1);
	workers_drain(workers);
	workers_free(workers);
}

Test(work, nothing_is_accepted_after_the_drain)
{
	struct job job = {.work = {.run = run_job}};
	struct workers *workers = start(1, 1, 10);

	workers_drain(workers);
	cr_assert_eq(workers_submit(workers, WORK_QUICK, &job.work), -ESHUTDOWN);
	workers_free(workers);
	cr_assert_eq(atomic_load(&job.runs), 0);
}

Test(work, a_full_queue_says_so_and_the_other_group_goes_on)
{
	sem_t started, go;
	struct job holding = {.work = {.run = run_job}, .started = &started, .go = &go};
	struct job waiting[2] = {{.work = {.run = run_job}}, {.work = {.run = run_job}}};
	struct job refused = {.work = {.run = run_job}};
	struct job quick = {.work = {.run = run_job}, .started = &started};
	struct workers *workers = start(1, 1, 2);

	sem_init(&started, 0, 0);
	sem_init(&go, 0, 0);
	cr_assert_eq(workers_submit(workers, WORK_DECODE, &holding.work), 0);
	sem_wait(&started);
	cr_assert_eq(workers_submit(workers, WORK_DECODE, &waiting[0].work), 0);
	cr_assert_eq(workers_submit(workers, WORK_DECODE, &waiting[1].work), 0);
	cr_assert_eq(workers_submit(workers, WORK_DECODE, &refused.work), -EAGAIN);
	cr_assert_eq(workers_submit(workers, WORK_QUICK, &quick.work), 0);
	sem_wait(&started);
	sem_post(&go);
	workers_free(workers);
	cr_assert_eq(atomic_load(&waiting[1].runs), 1);
	cr_assert_eq(atomic_load(&refused.runs), 0);
	cr_assert_eq(atomic_load(&quick.runs), 1);
}

Test(work, what_was_let_in_before_comes_in_however_long_the_queue)
{
	sem_t started, go;
	struct job holding = {.work = {.run = run_job}, .started = &started, .go = &go};
	static struct job again[100];
	struct workers *workers = start(1, 1, 1);

	sem_init(&started, 0, 0);
	sem_init(&go, 0, 0);
	cr_assert_eq(workers_submit(workers, WORK_QUICK, &holding.work), 0);
	sem_wait(&started);
	for (int i = 0; i < 100; i++) {
		again[i].work.run = run_job;
		cr_assert_eq(workers_resubmit(workers, WORK_QUICK, &again[i].work), 0);
	}
	sem_post(&go);
	workers_drain(workers);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(atomic_load(&again[i].runs), 1);
	cr_assert_eq(workers_resubmit(workers, WORK_QUICK, &holding.work), -ESHUTDOWN);
	workers_free(workers);
}

Test(work, hurried_work_does_not_wait_behind_a_decode)
{
	sem_t started, go;
	struct job holding = {.work = {.run = run_job}, .started = &started, .go = &go};
	struct job hurried = {.work = {.run = run_job}, .started = &started};
	struct workers *workers = start(1, 1, 10);

	sem_init(&started, 0, 0);
	sem_init(&go, 0, 0);
	cr_assert_eq(workers_submit(workers, WORK_DECODE, &holding.work), 0);
	sem_wait(&started);
	cr_assert_eq(workers_submit(workers, WORK_DECODE, &hurried.work), 0);
	workers_hurry(workers, &hurried.work);
	sem_wait(&started);
	workers_hurry(workers, &holding.work);
	sem_post(&go);
	workers_free(workers);
	cr_assert_eq(atomic_load(&hurried.runs), 1);
	cr_assert_eq(atomic_load(&holding.runs), 1);
}
