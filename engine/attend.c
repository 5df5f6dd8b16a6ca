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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/log.h"
#include "engine/record.h"
#include "engine/run_log.h"
#include "engine/run_private.h"
#include "engine/runs.h"
#include "engine/supervisor.h"
#include "engine/verify.h"

#define EXIT_FOR_GOOD 100
#define LATER_NS (5ll * 1000000000)
#define FIRED_AT_ONCE 32
#define WORDS_MAX 300

/* ---- pins ---- */

void attend_pin(struct run *run, struct version *version)
{
	run->pinned = version;
}

void attend_unpin(struct run *run)
{
	struct version *version = run->pinned;

	if (!version)
		return;
	run->pinned = NULL;
	atomic_fetch_sub(&version->pins, 1);
	version_put(version);
}

/* Under the type's lock no unload is between its check and its end. */
void attend_take_pin(struct engine *engine, struct run *run)
{
	struct version *version;

	catalog_lock_type(engine->catalog, run->state.type);
	version = catalog_find(engine->catalog, run->state.type, &run->state.version);
	if (version)
		atomic_fetch_add(&version->pins, 1);
	catalog_unlock_type(engine->catalog, run->state.type);
	if (version)
		attend_pin(run, version);
}

/* ---- appending with a line in the log ---- */

static int append_loudly(struct engine *engine, struct run *run, struct append *append,
			 const char *event, const char *message)
{
	struct reason reason = {0};
	char *audit = audit_line(event, clock_wall_ns(), NULL,
				 json_pack("{s:s, s:s, s:o}", "run", run->id, "type",
					   run->state.type, "message", audit_string(message)),
				 &append->audit_length);
	int error;

	if (!audit)
		return -ENOMEM;
	append->audit = audit;
	error = history_append(engine, run, append, &reason);
	free(audit);
	return error;
}

static int append_quietly(struct engine *engine, struct run *run, struct event *events,
			  size_t count)
{
	const struct append append = {.events = events, .count = count};
	struct reason reason = {0};

	return history_append(engine, run, &append, &reason);
}

static struct event ended(const struct run *run, enum attempt_how how)
{
	return (struct event){
	    .kind = EVENT_ATTEMPT_ENDED, .attempt = run->state.attempt, .how = how};
}

static void set_text(struct event *event, const char *text)
{
	event->text = text;
	event->text_length = strlen(text);
}

/* ---- processes ---- */

void attend_kill(struct run *run)
{
	if (!run->process || run->process->is_killed)
		return;
	run->process->is_killed = true;
	run->process->killed_ns = clock_wall_ns();
	attempt_kill(&run->process->attempt);
}

/* One that was told to end, and does not. */
static void insist(struct run *run, int64_t now_ns)
{
	struct process *process = run->process;

	if (!process || !process->is_killed || atomic_load(&process->has_ended) ||
	    now_ns < process->killed_ns + LATER_NS)
		return;
	attempt_force(&process->attempt);
	process->killed_ns = now_ns;
}

static void process_free(struct process *process)
{
	for (size_t i = 0; i < process->asked_count; i++) {
		free(process->asked[i].name);
		free(process->asked[i].command);
	}
	free(process->asked);
	if (process->output >= 0)
		close(process->output);
	run_put(process->run);
	free(process);
}

static void set_process(struct engine *engine, struct run *run, struct process *process)
{
	pthread_rwlock_wrlock(&engine->runs->lock);
	run->process = process;
	pthread_rwlock_unlock(&engine->runs->lock);
}

static void discard_process(struct engine *engine, struct run *run)
{
	struct process *process = run->process;

	set_process(engine, run, NULL);
	process_free(process);
	supervisor_give_slot(engine);
	run_log_tidy(engine->runs->log_directory, run->number);
}

/* ---- the end of an attempt ---- */

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

static int fail_attempt(struct engine *engine, struct run *run, int code, const char *message,
			bool for_good)
{
	struct event events[2] = {ended(run, ATTEMPT_FAILED), {.kind = EVENT_WORKFLOW_FAILED}};
	struct append append = {.events = events, .count = 2};
	int error;

	events[0].code = code;
	set_text(&events[0], message);
	set_text(&events[1], message);
	if (!for_good && run->state.failures + 1 < manifest_of(run)->max_attempts) {
		events[0].until_ns = clock_wall_ns() + backoff_ns(run);
		append.count = 1;
		return append_quietly(engine, run, events, 1);
	}
	error = append_loudly(engine, run, &append, "run_failed", message);
	return error;
}

static int complete(struct engine *engine, struct run *run, struct process *process)
{
	struct event events[2] = {ended(run, ATTEMPT_COMPLETED),
				  {.kind = EVENT_WORKFLOW_COMPLETED}};
	struct append append = {.events = events, .count = 2, .value_of = 1};
	struct reason reason = {0};
	struct stat output;
	int error;

	if (fstat(process->output, &output) < 0)
		return -EIO;
	if (output.st_size > (off_t)STEP_BYTES_MAX)
		return fail_attempt(engine, run, 0, "its result has more than 64 MiB", true);
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

/* The mount was not where it should be (umount -l): that is nobody's failure, and may pass. */
static bool has_lost_mount(const struct attempt_end *end)
{
	return end->outcome == ATTEMPT_NOT_STARTED && strncmp(end->text, "cannot chdir", 12) == 0 &&
	       (end->error == ENOENT || end->error == ENOTCONN || end->error == ECONNABORTED);
}

static int postpone(struct engine *engine, struct run *run, const struct attempt_end *end)
{
	struct event event = ended(run, ATTEMPT_STOPPED);

	set_text(&event, end->text);
	run->not_before_ns = clock_wall_ns() + LATER_NS;
	log_note(
	    engine, "attempt_not_started", true,
	    json_pack("{s:s, s:o, s:s}", "run", run->id, "message", audit_string(end->text),
		      "remedy",
		      "the mount is not at its place: mount it there again; tried again in 5 s"));
	return append_quietly(engine, run, &event, 1);
}

static int conclude(struct engine *engine, struct run *run, struct process *process)
{
	const struct attempt_end *end = &process->end;
	char message[WORDS_MAX + 256];

	if (has_lost_mount(end))
		return postpone(engine, run, end);
	if (end->outcome == ATTEMPT_EXITED && end->code == 0)
		return complete(engine, run, process);
	describe_end(engine, run, process, message, sizeof(message));
	return fail_attempt(engine, run, code_of(end), message,
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

static int collect(struct engine *engine, struct run *run)
{
	struct process *process = run->process;
	struct event stopped = ended(run, ATTEMPT_STOPPED);
	bool is_stopping = supervisor_is_stopping(engine);
	int error = 0;

	if (!process || !atomic_load(&process->has_ended))
		return 0;
	reap(engine, process);
	if (run->state.has_attempt && run->state.attempt == process->number) {
		/* We ended it, but could not say so then. */
		if (process->is_killed && is_stopping)
			error = append_quietly(engine, run, &stopped, 1);
		else
			error = conclude(engine, run, process);
	}
	/* The mount does not wait for room in the store: the next one takes it for a crash. */
	if (!error || is_stopping) {
		supervisor_unwatch(engine, process);
		discard_process(engine, run);
	}
	return error;
}

/* An attempt of a former daemon. Its processes are ended before anything starts anew. */
static int close_crashed(struct engine *engine, struct run *run)
{
	struct event event = ended(run, ATTEMPT_CRASHED);
	int error;

	if (!run->state.has_attempt || run->process)
		return 0;
	error = attempt_end_survivor(run->state.boot, run->state.pid, run->state.start_ticks);
	return error ? error : append_quietly(engine, run, &event, 1);
}

static int stop(struct engine *engine, struct run *run)
{
	struct event event = ended(run, ATTEMPT_STOPPED);
	int error = 0;

	if (run->state.has_attempt && run->process)
		error = append_quietly(engine, run, &event, 1);
	/* Where it can't be written, the next mount takes it for a crash, which is as good. */
	attend_kill(run);
	return error;
}

/* ---- time ---- */

static int time_out(struct engine *engine, struct run *run, int64_t now_ns)
{
	struct event events[2];
	struct append append = {.events = events};
	int error;

	if (!run->state.deadline_ns || run->state.deadline_ns > now_ns)
		return 0;
	if (run->state.has_attempt)
		events[append.count++] = ended(run, ATTEMPT_TIMED_OUT);
	events[append.count++] =
	    (struct event){.kind = EVENT_WORKFLOW_TIMED_OUT, .until_ns = run->state.deadline_ns};
	error = append_loudly(engine, run, &append, "run_timed_out",
			      "it did not end within the manifest's timeout");
	if (!error)
		attend_kill(run);
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
			error = append_quietly(engine, run, events, count);
		if (!error)
			error = history_load_items(engine, run);
		if (!error)
			run->timer_due_ns = items_next_due(run->items);
	}
	return error;
}

/* ---- the version ---- */

static int strand(struct engine *engine, struct run *run)
{
	struct event events[2];
	struct append append = {.events = events};
	char message[400], hex[DIGEST_HEX + 1];
	int error;

	digest_hex(&run->state.version, hex);
	if (run->pinned)
		snprintf(message, sizeof(message),
			 "its version %s/%s is damaged: read quarantine/%s/%s; deploy the same "
			 "archive again to go on",
			 run->state.type, hex, run->state.type, hex);
	else
		snprintf(message, sizeof(message),
			 "its version %s/%s is not loaded: deploy the same contents to go on",
			 run->state.type, hex);
	if (run->state.has_attempt)
		events[append.count++] = ended(run, ATTEMPT_STRANDED);
	events[append.count] = (struct event){.kind = EVENT_RUN_STRANDED};
	set_text(&events[append.count++], message);
	error = append_loudly(engine, run, &append, "run_stranded", message);
	if (error)
		return error;
	attend_kill(run);
	/* It may have come back before anybody could see a stranded run to tell it to. */
	supervisor_attend(engine, run);
	log_note(engine, "run_stranded", true,
		 json_pack("{s:s, s:s}", "run", run->id, "message", message));
	return 0;
}

static int check_version(struct engine *engine, struct run *run)
{
	struct event recovered = {.kind = EVENT_RUN_RECOVERED};
	bool is_there;

	if (!run->pinned)
		attend_take_pin(engine, run);
	is_there = run->pinned && !atomic_load(&run->pinned->is_damaged);
	if (!is_there && !run->state.is_stranded)
		return strand(engine, run);
	if (is_there && run->state.is_stranded)
		return append_quietly(engine, run, &recovered, 1);
	return 0;
}

/* ---- a running attempt ---- */

static int check_output(struct engine *engine, struct run *run)
{
	int error;

	if (!run->process || !run->state.has_attempt || !atomic_load(&run->process->is_too_large))
		return 0;
	error = fail_attempt(engine, run, 0, "its result has more than 64 MiB", true);
	if (!error)
		attend_kill(run);
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
	struct event event = ended(run, ATTEMPT_PARKED);
	char *waits;
	int error = 0;

	if (!process || !run->state.has_attempt || !is_idle(process))
		return 0;
	waits = wait_own_waits(engine, run, process->number);
	if (waits && strlen(waits) <= EVENT_TEXT_MAX && can_be_woken(engine, run, waits)) {
		set_text(&event, waits);
		error = append_quietly(engine, run, &event, 1);
		if (!error)
			attend_kill(run);
	}
	free(waits);
	return error;
}

/* ---- starting an attempt ---- */

static bool wants_attempt(struct engine *engine, const struct run *run, int64_t now_ns)
{
	const struct run_state *state = &run->state;

	if (run->process || run->not_before_ns > now_ns || !engine->options.mountpoint)
		return false;
	return state->status == RUN_PENDING ||
	       (state->status == RUN_WAITING && state->retry_ns <= now_ns);
}

static int spawn(struct engine *engine, struct run *run, struct process *process,
		 struct reason *reason)
{
	struct attempt_spec spec = {
	    .mountpoint = engine->options.mountpoint,
	    .run_id = run->id,
	    .type = run->state.type,
	    .version = run->pinned->hex,
	    .function = run->pinned->manifest.function,
	    .number = process->number,
	    .uid = run->state.uid,
	    .gid = run->state.gid,
	    .output = process->output,
	    .log_directory = engine->runs->log_directory,
	};

	run_log_name(run->number, spec.log_name);
	/* So that the workflow may open /dev/stdout by name, as scripts do. */
	if (geteuid() == 0 && fchown(process->output, run->state.uid, run->state.gid) < 0)
		return -errno;
	return attempt_start(&spec, &process->attempt, reason);
}

static int append_started(struct engine *engine, struct run *run, const struct process *process)
{
	struct event event = {
	    .kind = EVENT_ATTEMPT_STARTED,
	    .attempt = process->number,
	    .pid = process->attempt.holder,
	    .start_ticks = process->attempt.start_ticks,
	};
	int error = attempt_boot_id(event.boot);

	return error ? error : append_quietly(engine, run, &event, 1);
}

static struct process *process_new(struct engine *engine, struct run *run)
{
	struct process *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	process->number = run->state.attempt + 1;
	process->run = run_get(run);
	if (store_spool(engine->store, &process->output) != 0) {
		process->output = -1;
		process_free(process);
		return NULL;
	}
	return process;
}

/*
 * The process is there before the event, which names it; nothing that it records can come before
 * the event, because that needs run->lock.
 */
static int launch(struct engine *engine, struct run *run, struct reason *reason)
{
	struct process *process = process_new(engine, run);
	int error = process ? spawn(engine, run, process, reason) : -ENOMEM;

	if (error) {
		if (process)
			process_free(process);
		return error;
	}
	set_process(engine, run, process);
	error = append_started(engine, run, process);
	if (error)
		attend_kill(run);
	/* In any case it must be collected, when it has ended: never by waiting here, because it
	 * may sit in a request that needs the lock which this thread holds. */
	supervisor_watch(engine, process);
	return error;
}

static int start_attempt(struct engine *engine, struct run *run, int64_t now_ns)
{
	struct reason reason = {0};
	int error;

	if (!supervisor_is_ready(engine) || !wants_attempt(engine, run, now_ns))
		return 0;
	error = verify_version(engine, run->pinned, &reason);
	if (error)
		return error == -EIO ? check_version(engine, run) : error;
	if (!supervisor_take_slot(engine, run))
		return 0;
	error = launch(engine, run, &reason);
	if (error && !run->process)
		supervisor_give_slot(engine);
	if (error)
		log_note(engine, "attempt_not_started", true,
			 json_pack("{s:s, s:s, s:s}", "run", run->id, "message",
				   reason.code[0] ? reason.message : strerror(-error), "remedy",
				   "it is tried again in 5 s"));
	if (!error && supervisor_is_stopping(engine))
		error = stop(engine, run);
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
 * What was due in this look could not be done in it, for want of a place or of room in the store, or
 * because the mount begins or ends. To look again at once would be to spin: whoever gives up a place,
 * begins, or put it off has the run looked at again.
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
	attend_unpin(run);
	history_drop_items(engine, run);
	reschedule(engine, run, clock_wall_ns());
}

static int look(struct engine *engine, struct run *run, int64_t now_ns)
{
	int error = collect(engine, run);

	insist(run, now_ns);
	if (error || run_is_final(run->state.status))
		return error;
	error = close_crashed(engine, run);
	if (!error && supervisor_is_stopping(engine))
		return stop(engine, run);
	if (!error)
		error = time_out(engine, run, now_ns);
	if (error || run_is_final(run->state.status))
		return error;
	error = fire_timers(engine, run, now_ns);
	if (!error)
		error = check_version(engine, run);
	if (!error)
		error = check_output(engine, run);
	if (!error && !run_is_final(run->state.status))
		error = park(engine, run);
	if (!error && !run_is_final(run->state.status))
		error = start_attempt(engine, run, now_ns);
	return error;
}

/* The store or the machine is at fault, not the run: the look is made again. */
static void put_off(struct engine *engine, struct run *run, int error)
{
	run->not_before_ns = clock_wall_ns() + LATER_NS;
	log_note(engine, "run_delayed", true,
		 json_pack("{s:s, s:s, s:s}", "run", run->id, "message", strerror(-error), "remedy",
			   "it is looked at again in 5 s; see that the store has room"));
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

void attend(struct engine *engine, struct run *run)
{
	bool is_old = false;
	int64_t now_ns;
	int error;

	pthread_mutex_lock(&run->lock);
	if (!run->is_removed) {
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
