/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of ctl: a table of which states each is for, and what it appends. Whatever ends an
 * attempt is in the history before its processes are ended; so an attempt that is ending can't
 * write.
 */
#include "engine/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/log.h"
#include "engine/permit.h"
#include "engine/run_private.h"
#include "engine/runs.h"

#define STATES(status) (1u << (status))
#define UNFINISHED                                                                                 \
	(STATES(RUN_PENDING) | STATES(RUN_RUNNING) | STATES(RUN_WAITING) | STATES(RUN_PARKED) |    \
	 STATES(RUN_PAUSED) | STATES(RUN_STRANDED))

struct command {
	const char *word;
	unsigned states;
	enum event_kind kind;
	enum attempt_how how; /* of an open attempt that it ends */
	const char *wanted;   /* the states in words */
};

static const struct command commands[] = {
    {"cancel", UNFINISHED, EVENT_WORKFLOW_CANCELLED, ATTEMPT_CANCELLED, "unfinished"},
    {"pause", UNFINISHED & ~STATES(RUN_PAUSED) & ~STATES(RUN_STRANDED), EVENT_RUN_PAUSED,
     ATTEMPT_PAUSED, "unfinished, and neither paused nor stranded"},
    {"resume", STATES(RUN_PAUSED), EVENT_RUN_RESUMED, 0, "paused"},
    {"retry", STATES(RUN_FAILED) | STATES(RUN_CANCELLED) | STATES(RUN_TIMED_OUT),
     EVENT_RUN_REOPENED, 0, "failed, cancelled or timed_out"},
};

/* What was written: a word, and perhaps a reason behind it. */
struct request {
	const struct command *command;
	const char *detail;
	size_t detail_length;
};

static int parse(const char *text, size_t length, struct request *request, struct reason *reason)
{
	size_t word;

	while (length && (text[length - 1] == '\n' || text[length - 1] == ' '))
		length--;
	for (word = 0; word < length && text[word] != ' ';)
		word++;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *command = &commands[i];

		if (strlen(command->word) != word || memcmp(command->word, text, word) != 0)
			continue;
		request->command = command;
		request->detail = text + word + (word < length);
		request->detail_length = length - word - (word < length);
		if (!request->detail_length || command->kind == EVENT_WORKFLOW_CANCELLED)
			return 0;
	}
	return reason_set(reason, EINVAL, "command_unknown",
			  "ctl takes: cancel [REASON], pause, resume, retry");
}

/* A reopened run counts its deadline anew: the old one may be what ended it. */
static int64_t new_deadline(struct engine *engine, const struct run *run)
{
	struct version *version =
	    catalog_find(engine->catalog, run->state.type, &run->state.version);
	int64_t deadline_ns = 0;

	if (version && version->manifest.has_timeout)
		deadline_ns = clock_wall_ns() + (int64_t)version->manifest.timeout_ns;
	else if (!version && run->state.deadline_ns)
		deadline_ns = clock_wall_ns() + run->state.deadline_ns - run->state.started_ns;
	version_put(version);
	return deadline_ns;
}

static struct event make_event(struct engine *engine, const struct run *run,
			       const struct caller *caller, const struct request *request)
{
	struct event event = {
	    .kind = request->command->kind,
	    .uid = caller->uid,
	    .gid = caller->gid,
	};

	if (event.kind == EVENT_WORKFLOW_CANCELLED) {
		event.text = request->detail;
		event.text_length = request->detail_length;
	} else if (event.kind == EVENT_RUN_REOPENED) {
		event.until_ns = new_deadline(engine, run);
	}
	return event;
}

static char *audit_text(const struct run *run, const struct caller *caller,
			const struct request *request, size_t *ret_length)
{
	char event[32], detail[512];

	snprintf(event, sizeof(event), "run_%s", request->command->word);
	snprintf(detail, sizeof(detail), "%.*s", (int)request->detail_length, request->detail);
	return audit_line(event, clock_wall_ns(), caller,
			  json_pack("{s:s, s:o*}", "run", run->id, "reason",
				    detail[0] ? audit_string(detail) : NULL),
			  ret_length);
}

static int append_command(struct engine *engine, struct run *run, const struct caller *caller,
			  const struct request *request, struct reason *reason)
{
	struct event events[2];
	struct append append = {.events = events};
	char *audit = audit_text(run, caller, request, &append.audit_length);
	int error;

	if (!audit)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	if (run->state.has_attempt && request->command->how)
		events[append.count++] = (struct event){.kind = EVENT_ATTEMPT_ENDED,
							.attempt = run->state.attempt,
							.how = request->command->how};
	events[append.count++] = make_event(engine, run, caller, request);
	append.audit = audit;
	error = history_append(engine, run, &append, reason);
	free(audit);
	return error;
}

/* Under run->lock. */
static int execute(struct engine *engine, struct run *run, const struct caller *caller,
		   const struct request *request, struct reason *reason)
{
	enum run_status status = run->state.status;
	int error;

	if (run->is_removed)
		return -ENOENT;
	/* It may be another run than the one that was asked for, under the same ID. */
	if (!permit_user(engine, caller, run->state.uid))
		return -EACCES;
	if (!(request->command->states & STATES(status)))
		return reason_set(reason, EBUSY, "wrong_state",
				  "run %s is %s: %s is for runs that are %s", run->id,
				  run_status_name(status), request->command->word,
				  request->command->wanted);
	/* Pinned before it is unfinished again, so that no unload comes in between. */
	if (request->command->kind == EVENT_RUN_REOPENED)
		attend_take_pin(engine, run);
	error = append_command(engine, run, caller, request, reason);
	if (error && run_is_final(status))
		attend_unpin(run);
	if (error)
		return error;
	if (request->command->how)
		attend_kill(run);
	if (run_is_final(run->state.status))
		attend_finished(engine, run);
	return 0;
}

static void note_refusal(struct engine *engine, const struct caller *caller, const char *id,
			 const struct reason *reason)
{
	log_note(engine, "control_refused", false,
		 json_pack("{s:s, s:s, s:o, s:I}", "run", id, "code", reason->code, "message",
			   audit_string(reason->message), "uid", (json_int_t)caller->uid));
}

int control_run(struct engine *engine, const struct caller *caller, const char *id,
		const char *text, size_t length, struct reason *reason)
{
	struct request request = {0};
	struct run *run;
	int error = runs_check_access(engine, caller, id);

	if (error)
		return error;
	error =
	    parse(text, length < CONTROL_TEXT_MAX ? length : CONTROL_TEXT_MAX, &request, reason);
	run = error ? NULL : runs_find(engine, id);
	if (run) {
		pthread_mutex_lock(&run->lock);
		error = execute(engine, run, caller, &request, reason);
		pthread_mutex_unlock(&run->lock);
	} else if (!error) {
		error = -ENOENT;
	}
	if (run && !error)
		supervisor_attend(engine, run);
	run_put(run);
	if (error && reason && reason->code[0])
		note_refusal(engine, caller, id, reason);
	return error;
}
