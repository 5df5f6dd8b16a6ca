/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that watches: for times that are due, for the ends of processes, and now and then for
 * processes that write too much, or wait and do nothing. It decides nothing: it has runs looked at.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "engine/clock.h"
#include "engine/record.h"
#include "engine/supervisor_private.h"

#define TICK_MS 500
#define RESERVED_MAX 4 /* times the limit of an output */
#define ENDED_AT_ONCE 64
#define PARK_AFTER_DEFAULT_NS (10ll * 1000000000)

static void attend_due(struct supervisor *supervisor)
{
	struct itimerspec next = {0};
	int64_t due_ns = supervisor_mark_due(supervisor, clock_wall_ns());

	next.it_value.tv_sec = due_ns / 1000000000;
	next.it_value.tv_nsec = due_ns % 1000000000;
	/* A clock that is set cancels the timer, and the loop looks again: timerfd_create(2). */
	timerfd_settime(supervisor->timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &next,
			NULL);
}

/* With the lock. While others wait for room, who only waits makes room at the next tick. */
static int64_t park_after_ns(const struct supervisor *supervisor)
{
	uint64_t wanted = supervisor->engine->options.park_after_ns;
	int64_t after_ns = wanted ? (int64_t)wanted : PARK_AFTER_DEFAULT_NS;

	return supervisor->slots && after_ns > TICK_MS * 1000000ll ? TICK_MS * 1000000ll : after_ns;
}

/* Whether a process that waits has used no CPU for long enough. */
static bool is_idle(struct process *process, int64_t after_ns)
{
	int64_t now_ns = clock_monotonic_ns();
	uint32_t wakes = atomic_load(&process->wakes);
	uint64_t cpu_ns;

	if (!atomic_load(&process->run->waiter_count)) {
		process->idle_since_ns = 0;
		return false;
	}
	if (attempt_cpu_ns(&process->attempt, &cpu_ns) != 0)
		return false;
	if (cpu_ns != process->cpu_ns || wakes != process->wakes_seen || !process->idle_since_ns) {
		process->cpu_ns = cpu_ns;
		process->wakes_seen = wakes;
		process->idle_since_ns = now_ns;
	}
	return now_ns - process->idle_since_ns >= after_ns;
}

static bool is_over(const struct process *process)
{
	struct pollfd end = {.fd = process->attempt.pidfd, .events = POLLIN};

	return poll(&end, 1, 0) == 1;
}

/*
 * By its size, or by the room that was reserved for it behind its end: fallocate(2) fills a disk
 * without a byte. A filesystem reserves some of itself, so that has a wider limit.
 */
static bool is_too_large(int output)
{
	struct stat info;

	return fstat(output, &info) == 0 &&
	       (info.st_size > (off_t)STEP_BYTES_MAX ||
		(uint64_t)info.st_blocks * 512 > (uint64_t)STEP_BYTES_MAX * RESERVED_MAX);
}

static void look_at(struct supervisor *supervisor, struct process *process, int64_t after_ns)
{
	if (process->is_polled && is_over(process)) {
		supervisor_mark_ended(supervisor, process);
		return; /* it may be gone now */
	}
	if (is_too_large(process->output) && !atomic_exchange(&process->is_too_large, true))
		supervisor_attend(supervisor->engine, process->run);
	/* Whether it can be woken again is the look's to decide. */
	if (is_idle(process, after_ns)) {
		process->idle_since_ns = 0;
		atomic_store(&process->idle_at, process->wakes_seen + 1);
		supervisor_attend(supervisor->engine, process->run);
	}
}

/*
 * Who is to be looked at: those that have not ended. Without memory nobody, this time. Ownership:
 * free.
 */
static struct process **list_processes(struct supervisor *supervisor, size_t *ret_count,
				       int64_t *ret_after_ns, bool *ret_has_any)
{
	struct process **list;
	size_t count = 0;

	pthread_mutex_lock(&supervisor->lock);
	for (struct process *process = supervisor->processes; process; process = process->next)
		count++;
	list = calloc(count + 1, sizeof(*list));
	*ret_has_any = count > 0;
	*ret_after_ns = park_after_ns(supervisor);
	count = 0;
	for (struct process *process = list ? supervisor->processes : NULL; process;
	     process = process->next) {
		if (!atomic_load(&process->has_ended))
			list[count++] = process;
	}
	pthread_mutex_unlock(&supervisor->lock);
	*ret_count = count;
	return list;
}

/*
 * Returns whether there is anything to watch. Looking reads /proc for every process of an attempt,
 * as many as its user has, so it is done without the lock: a process goes only after its end was
 * noted, and that is this thread's to do.
 */
static bool tick(struct supervisor *supervisor)
{
	int64_t after_ns;
	bool has_any;
	size_t count;
	struct process **list = list_processes(supervisor, &count, &after_ns, &has_any);

	for (size_t i = 0; i < count; i++)
		look_at(supervisor, list[i], after_ns);
	free(list);
	return has_any;
}

static void mark_run(void *context, struct run *run)
{
	supervisor_attend(context, run);
}

/* The heap had no memory for somebody. */
static void attend_lost(struct supervisor *supervisor)
{
	if (atomic_exchange(&supervisor->has_lost, false))
		runs_each(supervisor->engine, mark_run, supervisor->engine);
}

static void drain(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return; /* ECANCELED: the clock was set; EAGAIN: nothing was there */
}

static void take_end(struct supervisor *supervisor, struct process *process)
{
	epoll_ctl(supervisor->epoll, EPOLL_CTL_DEL, process->attempt.pidfd, NULL);
	supervisor_mark_ended(supervisor, process);
}

static void take_news(struct supervisor *supervisor, const struct epoll_event *events, int count)
{
	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr == &supervisor->wake)
			drain(supervisor->wake);
		else if (events[i].data.ptr == &supervisor->timer)
			drain(supervisor->timer);
		else
			take_end(supervisor, events[i].data.ptr);
	}
}

void *watcher_main(void *argument)
{
	struct supervisor *supervisor = argument;
	struct epoll_event events[ENDED_AT_ONCE];
	int64_t ticked_ns = clock_monotonic_ns();
	bool is_closing = false, has_processes = false;

	while (!is_closing) {
		int count =
		    epoll_wait(supervisor->epoll, events, ENDED_AT_ONCE,
			       has_processes || atomic_load(&supervisor->has_lost) ? TICK_MS : -1);
		int64_t now_ns = clock_monotonic_ns();

		take_news(supervisor, events, count);
		attend_due(supervisor);
		if (now_ns - ticked_ns >= TICK_MS * 1000000ll || !has_processes) {
			has_processes = tick(supervisor);
			attend_lost(supervisor);
			ticked_ns = now_ns;
		}
		pthread_mutex_lock(&supervisor->lock);
		is_closing = supervisor->is_closing;
		pthread_mutex_unlock(&supervisor->lock);
	}
	return NULL;
}
