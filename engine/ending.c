/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of an attempt, however it comes: by its own process, by somebody's command or the clock,
 * with the mount, or found after a crash. Invariant: what ends an attempt is in the history before
 * its processes are ended, except where they ended by themselves; so what is ending can't record.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/log.h"
#include "engine/record.h"
#include "engine/run_log.h"
#include "engine/run_private.h"

#define EXIT_FOR_GOOD 100
#define WORDS_MAX 300

struct event ending_event(const struct run *run, enum attempt_how how)
{
	return (struct event){
	    .kind = EVENT_ATTEMPT_ENDED, .attempt = run->state.attempt, .how = how};
}

void ending_kill(struct run *run)
{
	if (!run->process || run->process->is_killed)
		return;
	run->process->is_killed = true;
	run->process->killed_ns = clock_wall_ns();
	attempt_kill(&run->process->attempt);
}

/* One that was told to end, and does not. */
void ending_insist(struct run *run, int64_t now_ns)
{
	struct process *process = run->process;

	if (!process || !process->is_killed || atomic_load(&process->has_ended) ||
	    now_ns < process->killed_ns + LATER_NS)
		return;
	attempt_force(&process->attempt);
	process->killed_ns = now_ns;
}

/* What is told of a failure: how it ended, and the last words on stderr. */
static void describe_end(struct engine *engine, const struct run *run,
			 const struct process *process, char *text, size_t room)
{
	const struct attempt_end *end = &process->end;
	char words[WORDS_MAX];
	int length;

	if (end->outcome == ATTEMPT_EXITED)
		length = snprintf(text, room, "attempt %u exited with code %d", process->number,
				  end->code);
	else if (end->outcome == ATTEMPT_SIGNALED)
		length = snprintf(text, room, "attempt %u was killed by signal %d (%s)",
				  process->number, end->signal, sigabbrev_np(end->signal));
	else if (end->outcome == ATTEMPT_NOT_STARTED)
		length = snprintf(text, room, "attempt %u could not be started: %s",
				  process->number, end->text);
	else
		length =
		    snprintf(text, room, "the holder of attempt %u was killed", process->number);
	run_log_last_line(engine->runs->log_directory, run->number, words, sizeof(words));
	if (words[0] && length > 0 && (size_t)length < room)
		snprintf(text + length, room - (size_t)length, "; its last words: %s", words);
}

static int code_of(const struct attempt_end *end)
{
	switch (end->outcome) {
	case ATTEMPT_EXITED:
		return end->code;
	case ATTEMPT_SIGNALED:
		return -end->signal;
	case ATTEMPT_NOT_STARTED:
		return 127;
	case ATTEMPT_LOST:
		break;
	}
	return -SIGKILL;
}

static const struct manifest *manifest_of(const struct run *run)
{
	static const struct manifest defaults = {
	    .max_attempts = 3, .initial_ms = 1000, .max_ms = 300000};

	return run->pinned ? &run->pinned->manifest : &defaults;
}

/* Exponential, and spread over the upper half, so that what failed together does not return so. */
static int64_t backoff_ns(const struct run *run)
{
	const struct manifest *manifest = manifest_of(run);
	uint64_t wait_ms = manifest->initial_ms;
	uint32_t spread = 0;

	for (uint32_t i = 0; i < run->state.failures && wait_ms < manifest->max_ms; i++)
		wait_ms *= 2;
	if (wait_ms > manifest->max_ms)
		wait_ms = manifest->max_ms;
	if (getrandom(&spread, sizeof(spread), GRND_NONBLOCK) < 0)
		spread = 0;
	wait_ms = wait_ms / 2 + (wait_ms / 2) * (spread & 0xffff) / 0xffff;
	/* A time of 0 would mean none. */
	return (int64_t)wait_ms * 1000000 + 1;
}

int ending_fail(struct engine *engine, struct run *run, int code, const char *message,
		bool for_good)
{
	struct event events[2] = {ending_event(run, ATTEMPT_FAILED),
				  {.kind = EVENT_WORKFLOW_FAILED}};
	struct append append = {.events = events, .count = 2};

	events[0].code = code;
	event_set_text(&events[0], message);
	event_set_text(&events[1], message);
	if (!for_good && run->state.failures + 1 < manifest_of(run)->max_attempts) {
		events[0].until_ns = clock_wall_ns() + backoff_ns(run);
		append.count = 1;
		return history_append_events(engine, run, events, 1);
	}
	return history_append_loudly(engine, run, &append, "run_failed", message);
}

static int complete(struct engine *engine, struct run *run, struct process *process)
{
	struct event events[2] = {ending_event(run, ATTEMPT_COMPLETED),
				  {.kind = EVENT_WORKFLOW_COMPLETED}};
	struct append append = {.events = events, .count = 2, .value_of = 1};
	struct reason reason = {0};
	struct stat output;
	int error;

	if (fstat(process->output, &output) < 0)
		return -EIO;
	if (output.st_size > (off_t)STEP_BYTES_MAX)
		return ending_fail(engine, run, 0, "its result has more than 64 MiB", true);
	error = value_read(engine->store, process->output, (uint64_t)output.st_size, &append.value,
			   &reason);
	if (error)
		return error;
	events[1].digest = *value_digest(append.value);
	events[1].bytes = value_size(append.value);
	error = history_append(engine, run, &append, &reason);
	if (error)
		value_settle(append.value, false);
	return error;
}

/*
 * The mount was not where it should be (umount -l), or the machine had no process or no memory to
 * spare: that is nobody's failure, and may pass.
 */
static bool is_nobodys_fault(const struct attempt_end *end)
{
	if (end->outcome != ATTEMPT_NOT_STARTED)
		return false;
	if (end->error == EAGAIN || end->error == ENOMEM || end->error == ENFILE)
		return true;
	return strncmp(end->text, "cannot chdir", 12) == 0 &&
	       (end->error == ENOENT || end->error == ENOTCONN || end->error == ECONNABORTED);
}

static int postpone(struct engine *engine, struct run *run, const struct attempt_end *end)
{
	struct event event = ending_event(run, ATTEMPT_STOPPED);

	event_set_text(&event, end->text);
	run->not_before_ns = clock_wall_ns() + LATER_NS;
	log_note(
	    engine, "attempt_not_started", true,
	    json_pack(
		"{s:s, s:o, s:s}", "run", run->id, "message", audit_string(end->text), "remedy",
		"it is tried again in 5 s: see that the mount is at its place, and the machine has "
		"processes and memory to spare"));
	return history_append_events(engine, run, &event, 1);
}

static int conclude(struct engine *engine, struct run *run, struct process *process)
{
	const struct attempt_end *end = &process->end;
	char message[WORDS_MAX + 256];

	if (is_nobodys_fault(end))
		return postpone(engine, run, end);
	if (end->outcome == ATTEMPT_EXITED && end->code == 0)
		return complete(engine, run, process);
	describe_end(engine, run, process, message, sizeof(message));
	return ending_fail(engine, run, code_of(end), message,
			   end->outcome == ATTEMPT_EXITED && end->code == EXIT_FOR_GOOD);
}

/* Others look at run->process under runs->lock, so what they see changes under it. */
static void reap(struct engine *engine, struct process *process)
{
	struct attempt attempt = process->attempt;

	if (process->is_collected)
		return;
	attempt_collect(&attempt, &process->end);
	pthread_rwlock_wrlock(&engine->runs->lock);
	process->attempt = attempt;
	pthread_rwlock_unlock(&engine->runs->lock);
	process->is_collected = true;
}

int ending_collect(struct engine *engine, struct run *run)
{
	struct process *process = run->process;
	struct event stopped = ending_event(run, ATTEMPT_STOPPED);
	bool is_stopping = supervisor_is_stopping(engine);
	int error = 0;

	if (!process || !atomic_load(&process->has_ended))
		return 0;
	reap(engine, process);
	if (run->state.has_attempt && run->state.attempt == process->number) {
		/* We ended it, but could not say so then. */
		if (process->is_killed && is_stopping)
			error = history_append_events(engine, run, &stopped, 1);
		else
			error = conclude(engine, run, process);
	}
	/* The mount does not wait for room in the store: the next one takes it for a crash. */
	if (!error || is_stopping) {
		supervisor_unwatch(engine, process);
		spawn_discard(engine, run);
	}
	return error;
}

/* An attempt of a former daemon. Its processes are ended before anything starts anew. */
int ending_of_crashed(struct engine *engine, struct run *run)
{
	struct event event = ending_event(run, ATTEMPT_CRASHED);
	int error;

	if (!run->state.has_attempt || run->process)
		return 0;
	error = attempt_end_survivor(run->state.boot, run->state.pid, run->state.start_ticks);
	return error ? error : history_append_events(engine, run, &event, 1);
}

int ending_of_stopped(struct engine *engine, struct run *run)
{
	struct event event = ending_event(run, ATTEMPT_STOPPED);
	int error = 0;

	if (run->state.has_attempt && run->process)
		error = history_append_events(engine, run, &event, 1);
	/* Where it can't be written, the next mount takes it for a crash, which is as good. */
	ending_kill(run);
	return error;
}
