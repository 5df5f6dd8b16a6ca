/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done when a run is looked at. The look goes through the same questions each time, in this
 * order, whatever it was called for; so an event that comes twice, or two that come at once, do no
 * harm, and a look that failed is simply made again:
 *
 *     its process has ended             -> collect it; what came of it goes into the history
 *     it was told to end, and does not  -> it is ended without the holder's help
 *     it is final                       -> nothing more, but its removal by age
 *     the history has an attempt open
 *       that no process belongs to      -> end survivors of a former daemon; the attempt crashed
 *     the mount ends                    -> the attempt is stopped
 *     its deadline is over              -> timed out
 *     a timer is due                    -> fired
 *     its version is not there, damaged -> stranded;   there (again) -> recovered
 *     its output is too large           -> the attempt failed
 *     it waits, and is idle             -> parked
 *     nothing hinders an attempt        -> one is started
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/clock.h"
#include "engine/log.h"
#include "engine/record.h"
#include "engine/run_private.h"
#include "engine/runs.h"
#include "engine/supervisor.h"
#include "engine/verify.h"

#define FIRED_AT_ONCE 32

/* ---- time ---- */

static int time_out(struct engine *engine, struct run *run, int64_t now_ns)
{
	struct event events[2];
	struct append append = {.events = events};
	int error;

	if (!run->state.deadline_ns || run->state.deadline_ns > now_ns)
		return 0;
	if (run->state.has_attempt)
		events[append.count++] = ending_event(run, ATTEMPT_TIMED_OUT);
	events[append.count++] =
	    (struct event){.kind = EVENT_WORKFLOW_TIMED_OUT, .until_ns = run->state.deadline_ns};
	error = history_append_loudly(engine, run, &append, "run_timed_out",
				      "it did not end within the manifest's timeout");
	if (!error)
		ending_kill(run);
	return error;
}

/* The timers that are due; more than fit into one commit are fired by the next look. */
static size_t due_timers(const struct run *run, int64_t now_ns, struct event events[FIRED_AT_ONCE])
{
	size_t count = 0;

	for (size_t i = 0; i < run->items->count && count < FIRED_AT_ONCE; i++) {
		const struct item *item = &run->items->list[i];

		if (item->kind != ITEM_TIMER || item->is_fired || item->until_ns > now_ns)
			continue;
		events[count] =
		    (struct event){.kind = EVENT_TIMER_FIRED, .until_ns = item->until_ns};
		strcpy(events[count++].name, item->name);
	}
	return count;
}

static int fire_timers(struct engine *engine, struct run *run, int64_t now_ns)
{
	struct event events[FIRED_AT_ONCE];
	int error = 0;

	while (!error && run->timer_due_ns && run->timer_due_ns <= now_ns) {
		size_t count;

		error = history_load_items(engine, run);
		if (error)
			return error;
		count = due_timers(run, now_ns, events);
		if (count)
			error = history_append_events(engine, run, events, count);
		if (!error)
			error = history_load_items(engine, run);
		if (!error)
			run->timer_due_ns = items_next_due(run->items);
	}
	return error;
}

/* ---- a running attempt ---- */

static int check_output(struct engine *engine, struct run *run)
{
	int error;

	if (!run->process || !run->state.has_attempt || !atomic_load(&run->process->is_too_large))
		return 0;
	error = ending_fail(engine, run, 0, "its result has more than 64 MiB", true);
	if (!error)
		ending_kill(run);
	return error;
}

/* A timer that nobody armed would never wake it. */
static bool can_be_woken(struct engine *engine, struct run *run, const char *waits)
{
	static const char timers[] = "timers/";
	const size_t prefix = sizeof(timers) - 1;
	char name[EVENT_NAME_MAX + 1];
	size_t length;

	if (history_load_items(engine, run) != 0)
		return false;
	for (const char *line = waits; *line; line += length + (line[length] == '\n')) {
		length = strcspn(line, "\n");
		if (length < prefix || memcmp(line, timers, prefix) != 0)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(length - prefix), line + prefix);
		if (!items_find(run->items, ITEM_TIMER, name))
			return false;
	}
	return true;
}

/*
 * Idle since before it was told something is idle no longer: what it was told would be lost until
 * something else wakes it.
 */
static bool is_idle(struct process *process)
{
	uint32_t idle_at = atomic_exchange(&process->idle_at, 0);

	return idle_at && idle_at == atomic_load(&process->wakes) + 1 && !process->open_steps;
}

static int park(struct engine *engine, struct run *run)
{
	struct process *process = run->process;
	struct event event = ending_event(run, ATTEMPT_PARKED);
	char *waits;
	int error = 0;

	if (!process || !run->state.has_attempt || !is_idle(process))
		return 0;
	waits = wait_own_waits(engine, run, process->number);
	if (waits && strlen(waits) <= EVENT_TEXT_MAX && can_be_woken(engine, run, waits)) {
		event_set_text(&event, waits);
		error = history_append_events(engine, run, &event, 1);
		if (!error)
			ending_kill(run);
	}
	free(waits);
	return error;
}

/* ---- the look ---- */

/* When a finished run is to be removed. */
static int64_t old_at(const struct engine *engine, const struct run *run)
{
	return run->state.changed_ns + (int64_t)engine->options.keep_finished_ns;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return !a || (b && b < a) ? b : a;
}

/*
 * What was due in this look could not be done in it, for want of a place or of room in the store,
 * or because the mount begins or ends. To look again at once would be to spin: whoever gives up a
 * place, begins, or put it off has the run looked at again.
 */
static int64_t ahead(int64_t due_ns, int64_t now_ns)
{
	return due_ns > now_ns ? due_ns : 0;
}

/* `now_ns` is the time that the look went by, so that nothing falls between the two. */
static void reschedule(struct engine *engine, struct run *run, int64_t now_ns)
{
	const struct run_state *state = &run->state;
	int64_t due_ns = run->not_before_ns;

	if (run->process && run->process->is_killed)
		due_ns = earlier(due_ns, ahead(run->process->killed_ns + LATER_NS, now_ns));
	if (!run_is_final(state->status)) {
		due_ns = earlier(due_ns, ahead(run->timer_due_ns, now_ns));
		due_ns = earlier(due_ns, ahead(state->deadline_ns, now_ns));
		if (state->status == RUN_WAITING)
			due_ns = earlier(due_ns, ahead(state->retry_ns, now_ns));
	} else if (!run->process && engine->options.keep_finished_ns) {
		due_ns = earlier(due_ns, ahead(old_at(engine, run), now_ns));
	}
	supervisor_schedule(engine, run, due_ns);
}

void attend_finished(struct engine *engine, struct run *run)
{
	pin_drop(run);
	history_drop_items(engine, run);
	reschedule(engine, run, clock_wall_ns());
}

static int look(struct engine *engine, struct run *run, int64_t now_ns)
{
	int error = ending_collect(engine, run);

	ending_insist(run, now_ns);
	if (error || run_is_final(run->state.status))
		return error;
	error = ending_of_crashed(engine, run);
	if (!error && supervisor_is_stopping(engine))
		return ending_of_stopped(engine, run);
	if (!error)
		error = time_out(engine, run, now_ns);
	if (error || run_is_final(run->state.status))
		return error;
	error = fire_timers(engine, run, now_ns);
	if (!error)
		error = pin_check(engine, run);
	if (!error)
		error = check_output(engine, run);
	if (!error && !run_is_final(run->state.status))
		error = park(engine, run);
	if (!error && !run_is_final(run->state.status))
		error = spawn_attempt(engine, run, now_ns);
	return error;
}

/* The store or the machine is at fault, not the run: the look is made again. */
static void put_off(struct engine *engine, struct run *run, int error)
{
	const char *remedy =
	    error == -ENOSPC ? "it is looked at again in 5 s: make room in the state's filesystem"
			     : "it is looked at again in 5 s: if that goes on, see the lines "
			       "before this one, the kernel's log, and aionfs fsck STATE";

	run->not_before_ns = clock_wall_ns() + LATER_NS;
	log_note(engine, "run_delayed", true,
		 json_pack("{s:s, s:s, s:s}", "run", run->id, "message", strerror(-error), "remedy",
			   remedy));
}

static bool is_too_old(const struct engine *engine, const struct run *run, int64_t now_ns)
{
	return engine->options.keep_finished_ns && run_is_final(run->state.status) &&
	       !run->process && !run->not_before_ns && now_ns >= old_at(engine, run);
}

/* Without run->lock, which the removal takes. */
static void remove_old(struct engine *engine, struct run *run)
{
	struct reason reason = {0};
	int error = runs_remove(engine, NULL, run->id, &reason);

	if (!error)
		return;
	pthread_mutex_lock(&run->lock);
	if (!run->is_removed) {
		run->not_before_ns = clock_wall_ns() + LATER_NS;
		reschedule(engine, run, clock_wall_ns());
	}
	pthread_mutex_unlock(&run->lock);
	log_note(engine, "run_not_removed", false,
		 json_pack("{s:s, s:s}", "run", run->id, "message",
			   reason.code[0] ? reason.message : strerror(-error)));
}

/*
 * A version is verified before its first attempt, without the lock of the run: hashing takes as
 * long as it takes, and who commands the run meanwhile must not wait for it. What came of it the
 * look sees.
 */
static void verify_first(struct engine *engine, struct run *run)
{
	struct version *version = NULL;
	struct reason reason = {0};

	pthread_mutex_lock(&run->lock);
	if (!run->is_removed && run->pinned && !atomic_load(&run->pinned->is_verified) &&
	    spawn_is_wanted(engine, run, clock_wall_ns()))
		version = version_get(run->pinned);
	pthread_mutex_unlock(&run->lock);
	if (version)
		verify_version(engine, version, &reason);
	version_put(version);
}

/* What is left of a run that was removed: processes that had not ended yet. */
static void attend_removed(struct engine *engine, struct run *run)
{
	int64_t now_ns = clock_wall_ns();

	ending_collect(engine, run);
	ending_insist(run, now_ns);
	supervisor_schedule(engine, run, run->process ? now_ns + LATER_NS : 0);
}

void attend(struct engine *engine, struct run *run)
{
	bool is_old = false;
	int64_t now_ns;
	int error;

	verify_first(engine, run);
	pthread_mutex_lock(&run->lock);
	if (run->is_removed) {
		attend_removed(engine, run);
	} else {
		now_ns = clock_wall_ns();
		run->not_before_ns = ahead(run->not_before_ns, now_ns);
		error = look(engine, run, now_ns);
		if (error)
			put_off(engine, run, error);
		if (run_is_final(run->state.status))
			attend_finished(engine, run);
		history_drop_items(engine, run);
		reschedule(engine, run, now_ns);
		is_old = is_too_old(engine, run, now_ns);
	}
	pthread_mutex_unlock(&run->lock);
	if (is_old)
		remove_old(engine, run);
}
