/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the lists of those that wait for something of a run. A waiter is listed only after a look
 * that no later event can have changed: the look takes the run's sequence down, and the listing,
 * under the lock that every notification takes, checks it again. So nothing is ever waited for that
 * has come.
 */
#include "engine/wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run_private.h"
#include "engine/runs.h"

static const struct {
	enum item_kind item;
	const char *directory;
} kinds[] = {
    [WAIT_TIMER] = {ITEM_TIMER, "timers/"},
    [WAIT_SIGNAL] = {ITEM_SIGNAL, "signals/"},
};

static void snapshot(struct engine *engine, struct run *run, enum run_status *ret_status,
		     uint64_t *ret_sequence)
{
	pthread_rwlock_rdlock(&engine->runs->lock);
	*ret_status = run->state.status;
	*ret_sequence = run->state.sequence;
	pthread_rwlock_unlock(&engine->runs->lock);
}

static int look_for_result(enum run_status status)
{
	switch (status) {
	case RUN_COMPLETED:
		return 0;
	case RUN_FAILED:
		return -EIO;
	case RUN_CANCELLED:
		return -ECANCELED;
	case RUN_TIMED_OUT:
		return -ETIMEDOUT;
	case RUN_PENDING:
	case RUN_RUNNING:
	case RUN_WAITING:
	case RUN_PARKED:
	case RUN_PAUSED:
	case RUN_STRANDED:
	case RUN_STATUSES:
		break;
	}
	return -EAGAIN;
}

static int look(struct engine *engine, struct run *run, enum wait_kind kind, const char *name,
		uint64_t *ret_sequence)
{
	enum run_status status;
	struct item item;
	bool is_there;
	int error;

	snapshot(engine, run, &status, ret_sequence);
	if (kind == WAIT_RESULT)
		return look_for_result(status);
	error = history_find_item(engine, run, kinds[kind].item, name, &item);
	if (error && error != -ENOENT)
		return error;
	is_there = !error && (kind == WAIT_SIGNAL || item.is_fired);
	if (!error) {
		free(item.text);
		free(item.name);
	}
	if (is_there)
		return 0;
	return run_is_final(status) ? -ECANCELED : -EAGAIN;
}

int wait_look(struct engine *engine, const char *id, enum wait_kind kind, const char *name)
{
	struct run *run = runs_find(engine, id);
	uint64_t sequence;
	int error = run ? look(engine, run, kind, name, &sequence) : -ENOENT;

	run_put(run);
	return error;
}

/* The number of the run's attempt when it is one of its own processes that asks; else 0. */
static uint32_t own_attempt(struct engine *engine, const struct run *run,
			    const struct caller *caller)
{
	uint32_t number = 0;

	pthread_rwlock_rdlock(&engine->runs->lock);
	if (run_has_task(run, caller->pid))
		number = run->process->number;
	pthread_rwlock_unlock(&engine->runs->lock);
	return number;
}

/* With waits_lock. */
static void link_waiter(struct run *run, struct waiter *waiter)
{
	waiter->run = run;
	waiter->is_listed = true;
	waiter->previous = NULL;
	waiter->next = run->waiters;
	if (waiter->next)
		waiter->next->previous = waiter;
	run->waiters = waiter;
	atomic_fetch_add(&run->waiter_count, 1);
}

static void unlink_waiter(struct waiter *waiter)
{
	if (waiter->previous)
		waiter->previous->next = waiter->next;
	else
		waiter->run->waiters = waiter->next;
	if (waiter->next)
		waiter->next->previous = waiter->previous;
	waiter->is_listed = false;
	atomic_fetch_sub(&waiter->run->waiter_count, 1);
}

static int add(struct engine *engine, struct waiter *waiter, struct run *run, enum wait_kind kind,
	       const char *name)
{
	struct runs *runs = engine->runs;
	uint64_t looked_at, now;
	enum run_status status;
	int error;

	do {
		error = look(engine, run, kind, name, &looked_at);
		if (error != -EAGAIN)
			return error == -ENOMEM ? error : -EALREADY;
		pthread_mutex_lock(&runs->waits_lock);
		snapshot(engine, run, &status, &now);
		if (now == looked_at)
			link_waiter(run, waiter);
		pthread_mutex_unlock(&runs->waits_lock);
	} while (now != looked_at);
	return 0;
}

int wait_add(struct engine *engine, struct waiter *waiter, const struct caller *caller,
	     const char *id, enum wait_kind kind, const char *name)
{
	struct run *run = runs_find(engine, id);
	int error;

	if (!run)
		return -ENOENT;
	waiter->kind = kind;
	snprintf(waiter->name, sizeof(waiter->name), "%s", kind == WAIT_RESULT ? "" : name);
	waiter->attempt = own_attempt(engine, run, caller);
	error = add(engine, waiter, run, kind, name);
	if (error)
		run_put(run);
	return error;
}

/*
 * One of the attempt's own processes waits no longer: it is not idle now, whatever was measured before.
 * With waits_lock.
 */
static void note_woken(struct engine *engine, const struct waiter *waiter)
{
	struct run *run = waiter->run;

	if (!waiter->attempt)
		return;
	pthread_rwlock_rdlock(&engine->runs->lock);
	if (run->process && run->process->number == waiter->attempt)
		atomic_fetch_add(&run->process->wakes, 1);
	pthread_rwlock_unlock(&engine->runs->lock);
}

bool wait_remove(struct engine *engine, struct waiter *waiter)
{
	struct run *run = waiter->run;
	bool was_listed;

	pthread_mutex_lock(&engine->runs->waits_lock);
	was_listed = waiter->is_listed;
	if (was_listed) {
		unlink_waiter(waiter);
		note_woken(engine, waiter);
	}
	pthread_mutex_unlock(&engine->runs->waits_lock);
	if (was_listed)
		run_put(run);
	return was_listed;
}

static bool ends_wait(const struct waiter *waiter, const struct event *event)
{
	switch (event->kind) {
	case EVENT_TIMER_FIRED:
		return waiter->kind == WAIT_TIMER && strcmp(waiter->name, event->name) == 0;
	case EVENT_SIGNAL_DELIVERED:
		return waiter->kind == WAIT_SIGNAL && strcmp(waiter->name, event->name) == 0;
	case EVENT_WORKFLOW_COMPLETED:
	case EVENT_WORKFLOW_FAILED:
	case EVENT_WORKFLOW_CANCELLED:
	case EVENT_WORKFLOW_TIMED_OUT:
		return true;
	case EVENT_WORKFLOW_STARTED:
	case EVENT_ATTEMPT_STARTED:
	case EVENT_ATTEMPT_ENDED:
	case EVENT_STEP_RECORDED:
	case EVENT_TIMER_SET:
	case EVENT_RUN_PAUSED:
	case EVENT_RUN_RESUMED:
	case EVENT_RUN_REOPENED:
	case EVENT_RUN_STRANDED:
	case EVENT_RUN_RECOVERED:
	case EVENT_KINDS:
		break;
	}
	return false;
}

void wait_notify(struct engine *engine, struct run *run, const struct event *events, size_t count)
{
	struct runs *runs = engine->runs;
	struct waiter *waiter, *next;
	unsigned released = 0;

	pthread_mutex_lock(&runs->waits_lock);
	for (waiter = run->waiters; waiter; waiter = next) {
		bool is_over = false;

		next = waiter->next;
		for (size_t i = 0; i < count; i++)
			is_over |= ends_wait(waiter, &events[i]);
		if (!is_over)
			continue;
		unlink_waiter(waiter);
		note_woken(engine, waiter);
		released++;
		waiter->ready(waiter);
	}
	pthread_mutex_unlock(&runs->waits_lock);
	while (released--)
		run_put(run);
}

char *wait_own_waits(struct engine *engine, struct run *run, uint32_t attempt)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		return NULL;
	pthread_mutex_lock(&engine->runs->waits_lock);
	for (const struct waiter *waiter = run->waiters; waiter; waiter = waiter->next) {
		if (waiter->attempt == attempt && waiter->kind != WAIT_RESULT)
			fprintf(out, "%s%s\n", kinds[waiter->kind].directory, waiter->name);
	}
	pthread_mutex_unlock(&engine->runs->waits_lock);
	if (fclose(out) != 0 || length == 0) {
		free(text);
		return NULL;
	}
	return text;
}
