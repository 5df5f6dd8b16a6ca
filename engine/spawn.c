/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting an attempt: its version verified, a place for it, its process, and AttemptStarted. Owns
 * struct process from here to spawn_discard.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/clock.h"
#include "engine/log.h"
#include "engine/run_log.h"
#include "engine/run_private.h"
#include "engine/verify.h"

static void process_free(struct process *process)
{
	for (size_t i = 0; i < process->asked_count; i++) {
		free(process->asked[i].name);
		free(process->asked[i].command);
	}
	free(process->asked);
	/* Its user may have sent a descriptor out of the attempt: what it holds goes anyway. */
	if (process->output >= 0) {
		(void)!ftruncate(process->output, 0);
		close(process->output);
	}
	run_put(process->run);
	free(process);
}

static void set_process(struct engine *engine, struct run *run, struct process *process)
{
	pthread_rwlock_wrlock(&engine->runs->lock);
	run->process = process;
	pthread_rwlock_unlock(&engine->runs->lock);
}

void spawn_discard(struct engine *engine, struct run *run)
{
	struct process *process = run->process;

	set_process(engine, run, NULL);
	process_free(process);
	supervisor_give_slot(engine);
	if (run->is_removed)
		run_log_remove(engine->runs->log_directory, run->number);
	else
		run_log_tidy(engine->runs->log_directory, run->number);
	if (engine->attempt_ended)
		engine->attempt_ended(engine->attempt_ended_context, run->id);
}

bool spawn_is_wanted(struct engine *engine, const struct run *run, int64_t now_ns)
{
	const struct run_state *state = &run->state;

	if (run->process || run->not_before_ns > now_ns || !engine->options.mountpoint ||
	    !supervisor_is_ready(engine))
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

	return error ? error : history_append_events(engine, run, &event, 1);
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
		ending_kill(run);
	/* In any case it must be collected, when it has ended: never by waiting here, because it
	 * may sit in a request that needs the lock which this thread holds. */
	supervisor_watch(engine, process);
	return error;
}

int spawn_attempt(struct engine *engine, struct run *run, int64_t now_ns)
{
	struct reason reason = {0};
	int error;

	if (!spawn_is_wanted(engine, run, now_ns))
		return 0;
	error = verify_version(engine, run->pinned, &reason);
	if (error)
		return error == -EIO ? pin_check(engine, run) : error;
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
		error = ending_of_stopped(engine, run);
	return error;
}
