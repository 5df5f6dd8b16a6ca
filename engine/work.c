/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the worker threads and their queues, each bounded, first come first served. Invariant:
 * work that was accepted runs exactly once, also when it was accepted just before the drain.
 */
#include "engine/work.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define THREADS_MAX 16

struct queue {
	struct work *first, *last;
	size_t count, count_max;
	pthread_cond_t changed;
};

struct workers {
	pthread_mutex_t lock;
	struct queue queues[WORK_GROUPS];
	bool is_draining;
	size_t thread_count;
	struct thread {
		struct workers *workers;
		enum work_group group;
		pthread_t id;
	} threads[WORK_GROUPS * THREADS_MAX];
};

static void queue_append(struct queue *queue, struct work *work)
{
	work->previous = queue->last;
	work->next = NULL;
	if (queue->last)
		queue->last->next = work;
	else
		queue->first = work;
	queue->last = work;
	queue->count++;
	work->is_queued = true;
}

static void queue_remove(struct queue *queue, struct work *work)
{
	if (work->previous)
		work->previous->next = work->next;
	else
		queue->first = work->next;
	if (work->next)
		work->next->previous = work->previous;
	else
		queue->last = work->previous;
	queue->count--;
	work->is_queued = false;
}

static void *serve(void *argument)
{
	struct thread *thread = argument;
	struct workers *workers = thread->workers;
	struct queue *queue = &workers->queues[thread->group];

	pthread_mutex_lock(&workers->lock);
	for (;;) {
		struct work *work = queue->first;

		if (work) {
			queue_remove(queue, work);
			pthread_mutex_unlock(&workers->lock);
			work->run(work);
			pthread_mutex_lock(&workers->lock);
		} else if (workers->is_draining) {
			break;
		} else {
			pthread_cond_wait(&queue->changed, &workers->lock);
		}
	}
	pthread_mutex_unlock(&workers->lock);
	return NULL;
}

static int start_thread(struct workers *workers, enum work_group group)
{
	struct thread *thread = &workers->threads[workers->thread_count];
	sigset_t blocked, before;
	int r;

	thread->workers = workers;
	thread->group = group;
	/* A fault must reach the thread that made it; everything else is for the main thread. */
	sigfillset(&blocked);
	sigdelset(&blocked, SIGBUS);
	sigdelset(&blocked, SIGSEGV);
	sigdelset(&blocked, SIGFPE);
	sigdelset(&blocked, SIGILL);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	r = pthread_create(&thread->id, NULL, serve, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return -r;
	workers->thread_count++;
	return 0;
}

int workers_new(const struct workers_options *options, struct workers **ret_workers)
{
	struct workers *workers = calloc(1, sizeof(*workers));

	if (!workers)
		return -ENOMEM;
	pthread_mutex_init(&workers->lock, NULL);
	for (int group = 0; group < WORK_GROUPS; group++) {
		pthread_cond_init(&workers->queues[group].changed, NULL);
		workers->queues[group].count_max = options->queue_max[group];
	}
	for (int group = 0; group < WORK_GROUPS; group++) {
		for (unsigned i = 0; i < options->threads[group] && i < THREADS_MAX; i++) {
			int r = start_thread(workers, (enum work_group)group);

			if (r < 0) {
				workers_free(workers);
				return r;
			}
		}
	}
	*ret_workers = workers;
	return 0;
}

static int submit(struct workers *workers, enum work_group group, struct work *work, bool any)
{
	struct queue *queue = &workers->queues[group];
	int r = 0;

	pthread_mutex_lock(&workers->lock);
	if (workers->is_draining) {
		r = -ESHUTDOWN;
	} else if (queue->count >= queue->count_max && !any) {
		r = -EAGAIN;
	} else {
		work->group = group;
		queue_append(queue, work);
		pthread_cond_signal(&queue->changed);
	}
	pthread_mutex_unlock(&workers->lock);
	return r;
}

int workers_submit(struct workers *workers, enum work_group group, struct work *work)
{
	return submit(workers, group, work, false);
}

int workers_resubmit(struct workers *workers, enum work_group group, struct work *work)
{
	return submit(workers, group, work, true);
}

void workers_hurry(struct workers *workers, struct work *work)
{
	struct queue *quick = &workers->queues[WORK_QUICK];

	pthread_mutex_lock(&workers->lock);
	if (work->is_queued && work->group == WORK_DECODE && !workers->is_draining) {
		queue_remove(&workers->queues[WORK_DECODE], work);
		work->group = WORK_QUICK;
		queue_append(quick, work);
		pthread_cond_signal(&quick->changed);
	}
	pthread_mutex_unlock(&workers->lock);
}

void workers_drain(struct workers *workers)
{
	pthread_mutex_lock(&workers->lock);
	if (workers->is_draining) {
		pthread_mutex_unlock(&workers->lock);
		return;
	}
	workers->is_draining = true;
	for (int group = 0; group < WORK_GROUPS; group++)
		pthread_cond_broadcast(&workers->queues[group].changed);
	pthread_mutex_unlock(&workers->lock);
	for (size_t i = 0; i < workers->thread_count; i++)
		pthread_join(workers->threads[i].id, NULL);
}

void workers_free(struct workers *workers)
{
	if (!workers)
		return;
	workers_drain(workers);
	for (int group = 0; group < WORK_GROUPS; group++)
		pthread_cond_destroy(&workers->queues[group].changed);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
}
