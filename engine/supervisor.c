/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the threads that attend to runs, and who is looked at next: a list of runs that need
 * attention, a list of those that want to start an attempt when there is room, a heap of those that
 * want to be looked at later, and the processes that run. One thread watches (watcher.c),
 * several attend: their commits share transactions.
 *
 * Invariant: a run is attended by one thread at a time, and whatever happened to it before or
 * during that leads to one more look. `lock` guards everything here; it is held for a few pointers
 * only.
 */
#include "engine/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "engine/run_private.h"
#include "engine/runs.h"
#include "engine/supervisor_private.h"

#define RUNNING_DEFAULT 64

/* ---- lists; with the lock ---- */

static void push_ready(struct supervisor *supervisor, struct run *run)
{
	run->is_ready = true;
	run->next_ready = NULL;
	if (supervisor->ready_last)
		supervisor->ready_last->next_ready = run;
	else
		supervisor->ready = run;
	supervisor->ready_last = run_get(run);
	pthread_cond_signal(&supervisor->work);
}

static struct run *pop_ready(struct supervisor *supervisor)
{
	struct run *run = supervisor->ready;

	supervisor->ready = run->next_ready;
	if (!supervisor->ready)
		supervisor->ready_last = NULL;
	run->is_ready = false;
	return run;
}

static void mark(struct supervisor *supervisor, struct run *run)
{
	if (run->is_attended)
		run->wants_more = true;
	else if (!run->is_ready)
		push_ready(supervisor, run);
}

static void push_slot(struct supervisor *supervisor, struct run *run)
{
	if (run->wants_slot)
		return;
	run->wants_slot = true;
	run->next_slot = NULL;
	if (supervisor->slots_last)
		supervisor->slots_last->next_slot = run;
	else
		supervisor->slots = run;
	supervisor->slots_last = run_get(run);
}

/* Lets those that wait for room have a look, as many as there is room for. */
static void grant(struct supervisor *supervisor)
{
	while (supervisor->slots && supervisor->is_ready && !supervisor->is_stopping &&
	       supervisor->running + supervisor->granted < supervisor->running_max) {
		struct run *run = supervisor->slots;

		supervisor->slots = run->next_slot;
		if (!supervisor->slots)
			supervisor->slots_last = NULL;
		run->wants_slot = false;
		if (!run->is_granted) {
			run->is_granted = true;
			supervisor->granted++;
		}
		mark(supervisor, run);
		run_put(run);
	}
}

/* ---- the heap; with the lock ---- */

static void place(struct supervisor *supervisor, size_t at, struct run *run)
{
	supervisor->heap[at] = run;
	run->heap_place = at;
}

static void sift_up(struct supervisor *supervisor, size_t at, struct run *run)
{
	while (at > 1 && supervisor->heap[at / 2]->due_ns > run->due_ns) {
		place(supervisor, at, supervisor->heap[at / 2]);
		at /= 2;
	}
	place(supervisor, at, run);
}

static void sift_down(struct supervisor *supervisor, size_t at, struct run *run)
{
	for (;;) {
		size_t child = at * 2;

		if (child < supervisor->heap_count &&
		    supervisor->heap[child + 1]->due_ns < supervisor->heap[child]->due_ns)
			child++;
		if (child > supervisor->heap_count ||
		    supervisor->heap[child]->due_ns >= run->due_ns)
			break;
		place(supervisor, at, supervisor->heap[child]);
		at = child;
	}
	place(supervisor, at, run);
}

static void heap_remove(struct supervisor *supervisor, struct run *run)
{
	size_t at = run->heap_place;
	struct run *last;

	if (!at)
		return;
	run->heap_place = 0;
	last = supervisor->heap[supervisor->heap_count--];
	if (last == run)
		return;
	sift_down(supervisor, at, last);
	sift_up(supervisor, last->heap_place, last);
}

static bool heap_grow(struct supervisor *supervisor)
{
	size_t room = supervisor->heap_room ? supervisor->heap_room * 2 : 1024;
	struct run **heap;

	if (supervisor->heap_count + 1 < supervisor->heap_room)
		return true;
	heap = realloc(supervisor->heap, room * sizeof(struct run *));
	if (!heap)
		return false;
	supervisor->heap = heap;
	supervisor->heap_room = room;
	return true;
}

/* ---- what attend.c and the others ask for ---- */

static void wake(struct supervisor *supervisor)
{
	uint64_t one = 1;

	if (write(supervisor->wake, &one, sizeof(one)) < 0)
		return; /* it is set already: the watcher will look */
}

void supervisor_attend(struct engine *engine, struct run *run)
{
	struct supervisor *supervisor = engine->runs->supervisor;

	pthread_mutex_lock(&supervisor->lock);
	mark(supervisor, run);
	pthread_mutex_unlock(&supervisor->lock);
}

void supervisor_schedule(struct engine *engine, struct run *run, int64_t due_ns)
{
	struct supervisor *supervisor = engine->runs->supervisor;
	bool is_first = false;

	pthread_mutex_lock(&supervisor->lock);
	if (run->due_ns != due_ns || !run->heap_place) {
		heap_remove(supervisor, run);
		run->due_ns = due_ns;
		if (due_ns && heap_grow(supervisor)) {
			sift_up(supervisor, ++supervisor->heap_count, run);
			is_first = run->heap_place == 1;
		} else if (due_ns) {
			atomic_store(&supervisor->has_lost, true);
			is_first = true; /* the watcher may be waiting for ever */
		}
	}
	pthread_mutex_unlock(&supervisor->lock);
	if (is_first)
		wake(supervisor);
}

bool supervisor_take_slot(struct engine *engine, struct run *run)
{
	struct supervisor *supervisor = engine->runs->supervisor;
	bool has_room;

	pthread_mutex_lock(&supervisor->lock);
	/* Who waits already goes first, unless this one was called up. */
	has_room = !supervisor->is_stopping && supervisor->running < supervisor->running_max &&
		   (run->is_granted || !supervisor->slots);
	if (has_room)
		supervisor->running++;
	else if (!supervisor->is_stopping)
		push_slot(supervisor, run);
	pthread_mutex_unlock(&supervisor->lock);
	return has_room;
}

void supervisor_give_slot(struct engine *engine)
{
	struct supervisor *supervisor = engine->runs->supervisor;

	pthread_mutex_lock(&supervisor->lock);
	supervisor->running--;
	grant(supervisor);
	if (!supervisor->running)
		pthread_cond_broadcast(&supervisor->quiet);
	pthread_mutex_unlock(&supervisor->lock);
}

void supervisor_watch(struct engine *engine, struct process *process)
{
	struct supervisor *supervisor = engine->runs->supervisor;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = process};

	/* Without memory in the kernel for one more, the ticks look. */
	process->is_polled =
	    epoll_ctl(supervisor->epoll, EPOLL_CTL_ADD, process->attempt.pidfd, &event) != 0;
	pthread_mutex_lock(&supervisor->lock);
	process->next = supervisor->processes;
	process->previous = NULL;
	if (process->next)
		process->next->previous = process;
	supervisor->processes = process;
	pthread_mutex_unlock(&supervisor->lock);
	/* The first process begins the ticks. */
	wake(supervisor);
}

void supervisor_unwatch(struct engine *engine, struct process *process)
{
	struct supervisor *supervisor = engine->runs->supervisor;

	epoll_ctl(supervisor->epoll, EPOLL_CTL_DEL, process->attempt.pidfd, NULL);
	pthread_mutex_lock(&supervisor->lock);
	if (process->previous)
		process->previous->next = process->next;
	else
		supervisor->processes = process->next;
	if (process->next)
		process->next->previous = process->previous;
	pthread_mutex_unlock(&supervisor->lock);
}

bool supervisor_is_stopping(struct engine *engine)
{
	struct supervisor *supervisor = engine->runs->supervisor;
	bool is_stopping;

	pthread_mutex_lock(&supervisor->lock);
	is_stopping = supervisor->is_stopping;
	pthread_mutex_unlock(&supervisor->lock);
	return is_stopping;
}

bool supervisor_is_ready(struct engine *engine)
{
	struct supervisor *supervisor = engine->runs->supervisor;
	bool is_ready;

	pthread_mutex_lock(&supervisor->lock);
	is_ready = supervisor->is_ready && !supervisor->is_stopping;
	pthread_mutex_unlock(&supervisor->lock);
	return is_ready;
}

uint64_t supervisor_running(struct engine *engine)
{
	struct supervisor *supervisor = engine->runs->supervisor;
	uint64_t running;

	pthread_mutex_lock(&supervisor->lock);
	running = supervisor->running;
	pthread_mutex_unlock(&supervisor->lock);
	return running;
}

/* ---- attending ---- */

/* With the lock. Nothing is left to be looked at. */
static bool is_quiet(const struct supervisor *supervisor)
{
	return !supervisor->ready && !supervisor->attending;
}

static void finish(struct supervisor *supervisor, struct run *run)
{
	run->is_attended = false;
	supervisor->attending--;
	if (run->wants_more) {
		run->wants_more = false;
		push_ready(supervisor, run);
	} else if (run->is_granted) {
		run->is_granted = false;
		supervisor->granted--;
	}
	grant(supervisor);
	if (is_quiet(supervisor))
		pthread_cond_broadcast(&supervisor->quiet);
}

static void *attend_all(void *argument)
{
	struct supervisor *supervisor = argument;

	pthread_mutex_lock(&supervisor->lock);
	for (;;) {
		struct run *run;

		while (!supervisor->ready && !supervisor->is_closing)
			pthread_cond_wait(&supervisor->work, &supervisor->lock);
		if (!supervisor->ready)
			break;
		run = pop_ready(supervisor);
		run->is_attended = true;
		supervisor->attending++;
		pthread_mutex_unlock(&supervisor->lock);
		attend(supervisor->engine, run);
		pthread_mutex_lock(&supervisor->lock);
		finish(supervisor, run);
		run_put(run);
	}
	pthread_mutex_unlock(&supervisor->lock);
	return NULL;
}

/* ---- for the watcher ---- */

int64_t supervisor_mark_due(struct supervisor *supervisor, int64_t now_ns)
{
	int64_t due_ns;

	pthread_mutex_lock(&supervisor->lock);
	while (supervisor->heap_count && supervisor->heap[1]->due_ns <= now_ns) {
		struct run *run = supervisor->heap[1];

		heap_remove(supervisor, run);
		mark(supervisor, run);
	}
	due_ns = supervisor->heap_count ? supervisor->heap[1]->due_ns : 0;
	pthread_mutex_unlock(&supervisor->lock);
	return due_ns;
}

void supervisor_mark_ended(struct supervisor *supervisor, struct process *process)
{
	pthread_mutex_lock(&supervisor->lock);
	atomic_store(&process->has_ended, true);
	mark(supervisor, process->run);
	pthread_mutex_unlock(&supervisor->lock);
}

/* ---- beginning and end ---- */

static int open_descriptors(struct supervisor *supervisor)
{
	struct epoll_event wake_event = {.events = EPOLLIN, .data.ptr = &supervisor->wake};
	struct epoll_event timer_event = {.events = EPOLLIN, .data.ptr = &supervisor->timer};

	supervisor->epoll = epoll_create1(EPOLL_CLOEXEC);
	supervisor->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	supervisor->timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (supervisor->epoll < 0 || supervisor->wake < 0 || supervisor->timer < 0)
		return -errno;
	if (epoll_ctl(supervisor->epoll, EPOLL_CTL_ADD, supervisor->wake, &wake_event) < 0 ||
	    epoll_ctl(supervisor->epoll, EPOLL_CTL_ADD, supervisor->timer, &timer_event) < 0)
		return -errno;
	return 0;
}

static int start_threads(struct supervisor *supervisor)
{
	sigset_t blocked, before;
	int error = 0;

	/* Signals are for the thread that waits for them; faults stay deliverable. */
	sigfillset(&blocked);
	sigdelset(&blocked, SIGBUS);
	sigdelset(&blocked, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	while (supervisor->thread_count < ATTENDING && !error) {
		error = pthread_create(&supervisor->threads[supervisor->thread_count], NULL,
				       attend_all, supervisor);
		supervisor->thread_count += error == 0;
	}
	if (!error) {
		error = pthread_create(&supervisor->watcher, NULL, watcher_main, supervisor);
		supervisor->has_watcher = error == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

int supervisor_open(struct engine *engine)
{
	struct supervisor *supervisor = calloc(1, sizeof(*supervisor));
	int error;

	if (!supervisor)
		return -ENOMEM;
	supervisor->engine = engine;
	supervisor->epoll = supervisor->wake = supervisor->timer = -1;
	supervisor->running_max = engine->options.max_attempts_running
				      ? engine->options.max_attempts_running
				      : RUNNING_DEFAULT;
	pthread_mutex_init(&supervisor->lock, NULL);
	pthread_cond_init(&supervisor->work, NULL);
	pthread_cond_init(&supervisor->quiet, NULL);
	engine->runs->supervisor = supervisor;
	error = open_descriptors(supervisor);
	return error ? error : start_threads(supervisor);
}

void supervisor_settle(struct engine *engine)
{
	struct supervisor *supervisor = engine->runs->supervisor;

	pthread_mutex_lock(&supervisor->lock);
	while (!is_quiet(supervisor))
		pthread_cond_wait(&supervisor->quiet, &supervisor->lock);
	pthread_mutex_unlock(&supervisor->lock);
}

static void mark_unfinished(void *context, struct run *run)
{
	if (!run_is_final(run->state.status))
		supervisor_attend(context, run);
}

void supervisor_begin(struct engine *engine)
{
	struct supervisor *supervisor = engine->runs->supervisor;

	pthread_mutex_lock(&supervisor->lock);
	supervisor->is_ready = true;
	pthread_mutex_unlock(&supervisor->lock);
	/* Parked runs have nothing to do, but the look is cheap, and there is one way only. */
	runs_each(engine, mark_unfinished, engine);
}

void supervisor_stop(struct engine *engine)
{
	struct supervisor *supervisor = engine->runs ? engine->runs->supervisor : NULL;

	if (!supervisor)
		return;
	pthread_mutex_lock(&supervisor->lock);
	supervisor->is_stopping = true;
	for (struct process *process = supervisor->processes; process; process = process->next)
		mark(supervisor, process->run);
	/*
	 * A look that has just started an attempt finds out by itself, before it is over. Who has a
	 * place is starting or running an attempt, and from now on nobody gets one; other looks may
	 * go on, and under a stream of requests they would never end.
	 */
	while (supervisor->running)
		pthread_cond_wait(&supervisor->quiet, &supervisor->lock);
	pthread_mutex_unlock(&supervisor->lock);
}

static void join_threads(struct supervisor *supervisor)
{
	pthread_mutex_lock(&supervisor->lock);
	supervisor->is_closing = true;
	pthread_cond_broadcast(&supervisor->work);
	pthread_mutex_unlock(&supervisor->lock);
	wake(supervisor);
	if (supervisor->has_watcher)
		pthread_join(supervisor->watcher, NULL);
	for (size_t i = 0; i < supervisor->thread_count; i++)
		pthread_join(supervisor->threads[i], NULL);
}

static void drop_lists(struct supervisor *supervisor)
{
	while (supervisor->slots) {
		struct run *run = supervisor->slots;

		supervisor->slots = run->next_slot;
		run->wants_slot = false;
		run_put(run);
	}
}

void supervisor_close(struct engine *engine)
{
	struct supervisor *supervisor = engine->runs ? engine->runs->supervisor : NULL;

	if (!supervisor)
		return;
	supervisor_stop(engine);
	join_threads(supervisor);
	drop_lists(supervisor);
	if (supervisor->epoll >= 0)
		close(supervisor->epoll);
	if (supervisor->wake >= 0)
		close(supervisor->wake);
	if (supervisor->timer >= 0)
		close(supervisor->timer);
	free(supervisor->heap);
	pthread_cond_destroy(&supervisor->quiet);
	pthread_cond_destroy(&supervisor->work);
	pthread_mutex_destroy(&supervisor->lock);
	free(supervisor);
	engine->runs->supervisor = NULL;
}
