/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps: asked for, declared, recorded, by processes of the current attempt and nobody else.
 * Invariant: a name is recorded at most once in a run, and an attempt gets it at most once; whoever
 * breaks that has written a workflow that is not deterministic, and its run fails, loudly.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/record.h"
#include "engine/run_private.h"
#include "engine/runs.h"

#define SHOWN_MAX 400

int step_check_caller(struct engine *engine, const struct caller *caller, const char *id,
		      struct reason *reason)
{
	struct run *run;
	int error = record_lock(engine, caller, id, &run, reason);

	if (!error)
		record_unlock(run);
	return error;
}

/* The attempt and the run end here; the caller hears -EILSEQ. */
static int violate(struct engine *engine, struct run *run, struct reason *reason)
{
	struct event events[] = {
	    {.kind = EVENT_ATTEMPT_ENDED,
	     .attempt = run->state.attempt,
	     .how = ATTEMPT_VIOLATED,
	     .text = reason->message,
	     .text_length = strlen(reason->message)},
	    {.kind = EVENT_WORKFLOW_FAILED,
	     .text = reason->message,
	     .text_length = strlen(reason->message)},
	};
	const struct append append = {.events = events, .count = 2};
	struct reason failure = {0};
	int error = history_append(engine, run, &append, &failure);

	/* Recorded or not, the attempt must not go on. */
	attend_kill(run);
	if (!error)
		attend_finished(engine, run);
	supervisor_attend(engine, run);
	if (error && reason)
		*reason = failure;
	return error ? error : -EILSEQ;
}

/* Backwards: mostly it is the one that was asked for last. */
static struct asked *find_asked(struct process *process, const char *name)
{
	for (size_t i = process->asked_count; i-- > 0;) {
		if (strcmp(process->asked[i].name, name) == 0)
			return &process->asked[i];
	}
	return NULL;
}

static int add_asked(struct process *process, const char *name)
{
	struct asked *asked = find_asked(process, name);

	if (!asked && process->asked_count == process->asked_room) {
		size_t room = process->asked_room ? process->asked_room * 2 : 16;
		struct asked *list = realloc(process->asked, room * sizeof(*list));

		if (!list)
			return -ENOMEM;
		process->asked = list;
		process->asked_room = room;
	}
	if (!asked) {
		char *copy = strdup(name);

		if (!copy)
			return -ENOMEM;
		asked = &process->asked[process->asked_count++];
		*asked = (struct asked){.name = copy};
	}
	/* What it was declared to be before it was given up says nothing of it now. */
	free(asked->command);
	asked->command = NULL;
	asked->is_open = true;
	process->open_steps++;
	return 0;
}

/* An asked-for name that is not open any more was recorded, replayed or given up. */
static bool is_taken(struct run *run, const struct asked *asked)
{
	const struct item *item;

	if (!asked)
		return false;
	if (asked->is_open || asked->is_replayed)
		return true;
	item = run->items ? items_find(run->items, ITEM_STEP, asked->name) : NULL;
	return item && item->attempt == run->state.attempt;
}

static int ask(struct engine *engine, struct run *run, const char *name, struct reason *reason)
{
	int error = history_load_items(engine, run);

	if (error)
		return error;
	if (is_taken(run, find_asked(run->process, name))) {
		reason_set(
		    reason, EILSEQ, "determinism_violation",
		    "determinism violation: attempt %u asked for step \"%s\" twice; a step's "
		    "name stands for one result: number them in a loop",
		    run->state.attempt, name);
		return violate(engine, run, reason);
	}
	return add_asked(run->process, name);
}

int step_ask(struct engine *engine, const struct caller *caller, const char *id, const char *name,
	     uint32_t *ret_attempt, struct reason *reason)
{
	struct reason own = {0};
	struct run *run;
	int error = record_check_name(name, reason ? reason : &own);

	if (!reason)
		reason = &own;
	if (!error)
		error = record_lock(engine, caller, id, &run, reason);
	if (!error) {
		if (ret_attempt)
			*ret_attempt = run->state.attempt;
		error = ask(engine, run, name, reason);
		record_unlock(run);
	}
	if (error)
		record_note_refusal(engine, caller, "step_refused", id, name, reason);
	return error;
}

static int compare_command(struct engine *engine, struct run *run, const char *name,
			   const char *command, size_t length, struct reason *reason)
{
	const struct item *item;
	int error = history_load_items(engine, run);

	if (error)
		return error;
	item = items_find(run->items, ITEM_STEP, name);
	if (!item || (strlen(item->text) == length && memcmp(item->text, command, length) == 0))
		return 0;
	/* The message keeps its end: both commands are cut, if need be, to show their difference.
	 */
	reason_set(
	    reason, EILSEQ, "determinism_violation",
	    "determinism violation: step \"%.60s\" was recorded as \"%.*s\" and is asked for as "
	    "\"%.*s\" in attempt %u",
	    name, SHOWN_MAX / 2, item->text, length < SHOWN_MAX / 2 ? (int)length : SHOWN_MAX / 2,
	    command, run->state.attempt);
	return violate(engine, run, reason);
}

static int declare(struct engine *engine, struct run *run, const char *name, const char *command,
		   size_t length, struct reason *reason)
{
	struct asked *asked = find_asked(run->process, name);
	int error;
	char *copy;

	if (!asked || !asked->is_open)
		return -ENOENT;
	error = compare_command(engine, run, name, command, length, reason);
	if (error)
		return error;
	copy = malloc(length + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, command, length);
	copy[length] = '\0';
	free(asked->command);
	asked->command = copy;
	/* Asked for properly and recorded already: this attempt has its result now. */
	if (items_find(run->items, ITEM_STEP, name))
		asked->is_replayed = true;
	return 0;
}

int step_declare(struct engine *engine, const struct caller *caller, const char *id,
		 const char *name, const char *command, size_t length, struct reason *reason)
{
	struct reason own = {0};
	struct run *run;
	int error = 0;

	if (!reason)
		reason = &own;
	if (length > EVENT_TEXT_MAX || memchr(command, 0, length))
		error =
		    reason_set(reason, EINVAL, "command_invalid",
			       "a step's command has at most %u bytes, and no NUL", EVENT_TEXT_MAX);
	if (!error)
		error = record_lock(engine, caller, id, &run, reason);
	if (!error) {
		error = declare(engine, run, name, command, length, reason);
		record_unlock(run);
	}
	if (error)
		record_note_refusal(engine, caller, "step_refused", id, name, reason);
	return error;
}

static void close_step(struct process *process, struct asked *asked)
{
	if (!asked || !asked->is_open)
		return;
	asked->is_open = false;
	process->open_steps--;
}

/* Who asks for names and gives them up again may do so for ever: nothing is left of that. */
static void forget_step(struct process *process, struct asked *asked)
{
	free(asked->command);
	asked->command = NULL;
	if (asked->is_replayed)
		return;
	free(asked->name);
	*asked = process->asked[--process->asked_count];
}

static int append_step(struct engine *engine, struct run *run, const char *name,
		       struct value *value, struct reason *reason)
{
	const struct asked *asked = find_asked(run->process, name);
	struct event event = {
	    .kind = EVENT_STEP_RECORDED,
	    .attempt = run->state.attempt,
	    .digest = *value_digest(value),
	    .bytes = value_size(value),
	};
	const struct append append = {.events = &event, .count = 1, .value = value};

	strcpy(event.name, name);
	if (asked && asked->command) {
		event.text = asked->command;
		event.text_length = strlen(asked->command);
	}
	return history_append(engine, run, &append, reason);
}

/* The history has its command now. */
static void finish_step(struct process *process, struct asked *asked)
{
	if (!asked)
		return;
	close_step(process, asked);
	free(asked->command);
	asked->command = NULL;
}

static int record(struct engine *engine, struct run *run, const char *name, struct value *value,
		  struct reason *reason)
{
	const struct item *item;
	int error = history_load_items(engine, run);

	if (error)
		return error;
	item = items_find(run->items, ITEM_STEP, name);
	if (item && item->attempt != run->state.attempt)
		return reason_set(reason, EEXIST, "step_exists",
				  "step \"%s\" of run %s is recorded already, by attempt %u: read "
				  "steps/%s instead of doing it again",
				  name, run->id, item->attempt, name);
	if (item) {
		reason_set(reason, EILSEQ, "determinism_violation",
			   "determinism violation: attempt %u recorded step \"%s\" twice; a step's "
			   "name stands for one result: number them in a loop",
			   run->state.attempt, name);
		return violate(engine, run, reason);
	}
	error = append_step(engine, run, name, value, reason);
	if (!error)
		finish_step(run->process, find_asked(run->process, name));
	return error;
}

int step_record(struct engine *engine, const struct caller *caller, const char *id,
		const char *name, int fd, uint64_t size, struct reason *reason)
{
	struct value *value = NULL;
	struct reason own = {0};
	struct run *run;
	int error = record_check_name(name, reason ? reason : &own);

	if (!reason)
		reason = &own;
	if (!error && size > STEP_BYTES_MAX)
		error = reason_set(reason, EFBIG, "value_too_large",
				   "the result of step \"%s\" has more than %u bytes", name,
				   STEP_BYTES_MAX);
	if (!error)
		error = step_check_caller(engine, caller, id, reason);
	if (!error)
		error = value_read(engine->store, fd, size, &value, reason);
	if (!error)
		error = record_lock(engine, caller, id, &run, reason);
	if (!error) {
		error = record(engine, run, name, value, reason);
		record_unlock(run);
	}
	if (error) {
		value_settle(value, false);
		record_note_refusal(engine, caller, "step_refused", id, name, reason);
	}
	return error;
}

void step_abandon(struct engine *engine, const char *id, const char *name, uint32_t attempt)
{
	struct run *run = runs_find(engine, id);
	struct asked *asked = NULL;

	if (!run)
		return;
	pthread_mutex_lock(&run->lock);
	if (run->process && run->process->number == attempt)
		asked = find_asked(run->process, name);
	if (asked && asked->is_open) {
		close_step(run->process, asked);
		forget_step(run->process, asked);
	}
	pthread_mutex_unlock(&run->lock);
	run_put(run);
}
