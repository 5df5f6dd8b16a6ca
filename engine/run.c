/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fold. Owns the meaning of a history: what each event does to a run, and which event may
 * follow which state. The status is derived anew after every event, by one function.
 */
#include "engine/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const status_names[RUN_STATUSES] = {
    [RUN_PENDING] = "pending",	   [RUN_RUNNING] = "running", [RUN_WAITING] = "waiting",
    [RUN_PARKED] = "parked",	   [RUN_PAUSED] = "paused",   [RUN_STRANDED] = "stranded",
    [RUN_COMPLETED] = "completed", [RUN_FAILED] = "failed",   [RUN_CANCELLED] = "cancelled",
    [RUN_TIMED_OUT] = "timed_out",
};

const char *run_status_name(enum run_status status)
{
	return status < RUN_STATUSES ? status_names[status] : "?";
}

enum run_status run_status_parse(const char *name)
{
	int status = 0;

	while (status < RUN_STATUSES && strcmp(status_names[status], name) != 0)
		status++;
	return (enum run_status)status;
}

void run_state_free(struct run_state *state)
{
	free(state->type);
	free(state->boot);
	free(state->waits);
	free(state->error);
	state->type = state->boot = state->waits = state->error = NULL;
}

/* A copy of a text that may be missing. */
static bool copy_member(char **member)
{
	if (*member)
		*member = strdup(*member);
	else
		return true;
	return *member != NULL;
}

int run_state_copy(struct run_state *ret_copy, const struct run_state *state)
{
	bool is_whole;

	*ret_copy = *state;
	is_whole = copy_member(&ret_copy->type);
	is_whole &= copy_member(&ret_copy->boot);
	is_whole &= copy_member(&ret_copy->waits);
	is_whole &= copy_member(&ret_copy->error);
	if (is_whole)
		return 0;
	run_state_free(ret_copy);
	return -ENOMEM;
}

void items_clear(struct items *items)
{
	for (size_t i = 0; i < items->count; i++) {
		free(items->list[i].name);
		free(items->list[i].text);
	}
	free(items->list);
	free(items->slots);
	*items = (struct items){0};
}

/* FNV-1a, over what an item is called by. */
static size_t hash(enum item_kind kind, const char *name)
{
	uint64_t sum = 0xcbf29ce484222325u ^ (uint64_t)kind;

	for (; *name; name++)
		sum = (sum ^ (uint8_t)*name) * 0x100000001b3u;
	return (size_t)(sum ^ sum >> 32);
}

/* The slot that holds the item, or the empty one where it belongs. There are slots. */
static uint32_t *slot_of(const struct items *items, enum item_kind kind, const char *name)
{
	size_t mask = items->slot_count - 1, at = hash(kind, name) & mask;

	for (; items->slots[at]; at = (at + 1) & mask) {
		const struct item *item = &items->list[items->slots[at] - 1];

		if (item->kind == kind && strcmp(item->name, name) == 0)
			break;
	}
	return &items->slots[at];
}

static struct item *find(const struct items *items, enum item_kind kind, const char *name)
{
	uint32_t place = items->slot_count ? *slot_of(items, kind, name) : 0;

	return place ? &items->list[place - 1] : NULL;
}

const struct item *items_find(const struct items *items, enum item_kind kind, const char *name)
{
	return find(items, kind, name);
}

int64_t items_next_due(const struct items *items)
{
	int64_t due_ns = 0;

	for (size_t i = 0; i < items->count; i++) {
		const struct item *item = &items->list[i];

		if (item->kind == ITEM_TIMER && !item->is_fired &&
		    (!due_ns || item->until_ns < due_ns))
			due_ns = item->until_ns;
	}
	return due_ns;
}

static char *copy_text(const char *text, size_t length)
{
	char *copy = malloc(length + 1);

	if (copy) {
		if (length)
			memcpy(copy, text, length);
		copy[length] = '\0';
	}
	return copy;
}

/* Room for one more, in the list and in the slots. */
static int make_room(struct items *items)
{
	size_t room = items->room ? items->room * 2 : 8;
	struct item *list;
	uint32_t *slots;

	if (items->count < items->room)
		return 0;
	list = realloc(items->list, room * sizeof(*list));
	if (!list)
		return -ENOMEM;
	items->list = list;
	slots = calloc(room * 2, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(items->slots);
	items->slots = slots;
	items->slot_count = room * 2;
	items->room = room;
	for (size_t i = 0; i < items->count; i++)
		*slot_of(items, list[i].kind, list[i].name) = (uint32_t)i + 1;
	return 0;
}

static int add_item(struct items *items, enum item_kind kind, const struct event *event)
{
	struct item item = {
	    .kind = kind,
	    .attempt = event->attempt,
	    .sequence = event->sequence,
	    .at_ns = event->at_ns,
	    .until_ns = event->until_ns,
	    .digest = event->digest,
	    .bytes = event->bytes,
	    .text = copy_text(event->text, event->text_length),
	    .name = strdup(event->name),
	};

	if (kind == ITEM_TIMER)
		item.bytes = event->text_length;
	if (!item.text || !item.name || make_room(items) != 0) {
		free(item.text);
		free(item.name);
		return -ENOMEM;
	}
	items->list[items->count++] = item;
	items->text_bytes += event->text_length;
	*slot_of(items, kind, item.name) = (uint32_t)items->count;
	return 0;
}

static int record(struct items *items, enum item_kind kind, const struct event *event)
{
	if (find(items, kind, event->name))
		return -EBADMSG;
	return add_item(items, kind, event);
}

static int fire(struct items *items, const struct event *event)
{
	struct item *item = find(items, ITEM_TIMER, event->name);

	if (!item || item->is_fired)
		return -EBADMSG;
	item->is_fired = true;
	item->fired_ns = event->at_ns;
	return 0;
}

int run_fold_items(struct items *items, const struct event *event)
{
	if (event->kind == EVENT_STEP_RECORDED)
		return record(items, ITEM_STEP, event);
	if (event->kind == EVENT_TIMER_SET)
		return record(items, ITEM_TIMER, event);
	if (event->kind == EVENT_TIMER_FIRED)
		return fire(items, event);
	if (event->kind == EVENT_SIGNAL_DELIVERED)
		return record(items, ITEM_SIGNAL, event);
	return 0;
}

/* Whether a parked run waits for this: a whole line "timers/NAME" of what it waits for. */
static bool is_waited_for(const char *waits, const char *directory, const char *name)
{
	size_t directory_length = strlen(directory), name_length = strlen(name);

	for (const char *line = waits; line && *line;
	     line += strcspn(line, "\n"), line += *line == '\n') {
		if (strcspn(line, "\n") == directory_length + name_length &&
		    memcmp(line, directory, directory_length) == 0 &&
		    memcmp(line + directory_length, name, name_length) == 0)
			return true;
	}
	return false;
}

static void wake(struct run_state *state, const char *directory, const char *name)
{
	if (!state->is_parked || !is_waited_for(state->waits, directory, name))
		return;
	state->is_parked = false;
	free(state->waits);
	state->waits = NULL;
}

static int set_error(struct run_state *state, const struct event *event)
{
	free(state->error);
	state->error = NULL;
	if (!event->text_length)
		return 0;
	state->error = copy_text(event->text, event->text_length);
	return state->error ? 0 : -ENOMEM;
}

static int start(struct run_state *state, const struct event *event)
{
	state->type = strdup(event->name);
	state->version = event->version;
	state->input_digest = event->digest;
	state->input_bytes = event->bytes;
	state->uid = event->uid;
	state->gid = event->gid;
	state->started_ns = event->at_ns;
	state->deadline_ns = event->until_ns;
	return state->type ? 0 : -ENOMEM;
}

static int open_attempt(struct run_state *state, const struct event *event)
{
	state->has_attempt = true;
	state->is_parked = false;
	state->attempt = event->attempt;
	state->retry_ns = 0;
	state->pid = event->pid;
	state->start_ticks = event->start_ticks;
	free(state->boot);
	state->boot = strdup(event->boot);
	return state->boot ? 0 : -ENOMEM;
}

static int close_attempt(struct run_state *state, const struct event *event)
{
	state->has_attempt = false;
	free(state->boot);
	state->boot = NULL;
	if (event->how == ATTEMPT_PARKED) {
		free(state->waits);
		state->waits = copy_text(event->text, event->text_length);
		state->is_parked = true;
		return state->waits ? 0 : -ENOMEM;
	}
	if (event->how == ATTEMPT_FAILED) {
		state->failures++;
		state->retry_ns = event->until_ns;
	}
	if (event->how == ATTEMPT_FAILED || event->how == ATTEMPT_VIOLATED)
		return set_error(state, event);
	return 0;
}

static int end(struct run_state *state, enum run_status status, const struct event *event)
{
	state->status = status;
	state->is_parked = state->is_paused = state->is_stranded = false;
	state->retry_ns = 0;
	free(state->waits);
	state->waits = NULL;
	if (status == RUN_COMPLETED) {
		state->result_sequence = event->sequence;
		state->result_bytes = event->bytes;
	}
	/* A completed run forgets why an attempt failed; of one that timed out it is the best hint.
	 */
	return status == RUN_TIMED_OUT ? 0 : set_error(state, event);
}

/* Which event may come when; of an unfinished run. */
static bool may_go_on(const struct run_state *state, const struct event *event)
{
	bool is_of_attempt = state->has_attempt && event->attempt == state->attempt;

	switch (event->kind) {
	case EVENT_ATTEMPT_STARTED:
		return (state->status == RUN_PENDING || state->status == RUN_WAITING) &&
		       event->attempt == state->attempt + 1;
	case EVENT_ATTEMPT_ENDED:
	case EVENT_STEP_RECORDED:
	case EVENT_TIMER_SET:
		return is_of_attempt;
	case EVENT_TIMER_FIRED:
	case EVENT_SIGNAL_DELIVERED:
		return true;
	/* Whatever ends an attempt, or keeps it from going on, comes after its end. */
	case EVENT_RUN_PAUSED:
		return !state->has_attempt && !state->is_paused;
	case EVENT_RUN_STRANDED:
		return !state->has_attempt && !state->is_stranded;
	case EVENT_RUN_RESUMED:
		return state->is_paused;
	case EVENT_RUN_RECOVERED:
		return state->is_stranded;
	case EVENT_WORKFLOW_COMPLETED:
	case EVENT_WORKFLOW_FAILED:
	case EVENT_WORKFLOW_CANCELLED:
	case EVENT_WORKFLOW_TIMED_OUT:
		return !state->has_attempt;
	case EVENT_WORKFLOW_STARTED:
	case EVENT_RUN_REOPENED:
	case EVENT_KINDS:
		break;
	}
	return false;
}

static bool may_follow(const struct run_state *state, const struct event *event)
{
	if (event->sequence != state->sequence + 1)
		return false;
	if (event->kind == EVENT_WORKFLOW_STARTED)
		return state->sequence == 0 && strlen(event->name) <= TYPE_MAX;
	if (state->sequence == 0)
		return false;
	if (run_is_final(state->status))
		return event->kind == EVENT_RUN_REOPENED && state->status != RUN_COMPLETED;
	return may_go_on(state, event);
}

static int apply(struct run_state *state, const struct event *event)
{
	switch (event->kind) {
	case EVENT_WORKFLOW_STARTED:
		return start(state, event);
	case EVENT_ATTEMPT_STARTED:
		return open_attempt(state, event);
	case EVENT_ATTEMPT_ENDED:
		return close_attempt(state, event);
	case EVENT_STEP_RECORDED:
		state->steps++;
		state->failures = 0;
		return 0;
	case EVENT_TIMER_SET:
		state->timers++;
		return 0;
	case EVENT_TIMER_FIRED:
		wake(state, "timers/", event->name);
		return 0;
	case EVENT_SIGNAL_DELIVERED:
		state->signals++;
		wake(state, "signals/", event->name);
		return 0;
	case EVENT_RUN_PAUSED:
	case EVENT_RUN_RESUMED:
		state->is_paused = event->kind == EVENT_RUN_PAUSED;
		return 0;
	case EVENT_RUN_REOPENED:
		state->status = RUN_PENDING;
		state->failures = 0;
		state->deadline_ns = event->until_ns;
		return 0;
	case EVENT_RUN_STRANDED:
	case EVENT_RUN_RECOVERED:
		state->is_stranded = event->kind == EVENT_RUN_STRANDED;
		return set_error(state, event);
	case EVENT_WORKFLOW_COMPLETED:
		return end(state, RUN_COMPLETED, event);
	case EVENT_WORKFLOW_FAILED:
		return end(state, RUN_FAILED, event);
	case EVENT_WORKFLOW_CANCELLED:
		return end(state, RUN_CANCELLED, event);
	case EVENT_WORKFLOW_TIMED_OUT:
		return end(state, RUN_TIMED_OUT, event);
	case EVENT_KINDS:
		break;
	}
	return -EBADMSG;
}

static enum run_status derive(const struct run_state *state)
{
	if (run_is_final(state->status))
		return state->status;
	if (state->is_stranded)
		return RUN_STRANDED;
	if (state->is_paused)
		return RUN_PAUSED;
	if (state->has_attempt)
		return RUN_RUNNING;
	if (state->is_parked)
		return RUN_PARKED;
	return state->retry_ns ? RUN_WAITING : RUN_PENDING;
}

int run_fold(struct run_state *state, struct items *items, const struct event *event)
{
	int error = may_follow(state, event) ? apply(state, event) : -EBADMSG;

	if (!error && items)
		error = run_fold_items(items, event);
	if (error)
		return error;
	state->sequence = event->sequence;
	state->changed_ns = event->at_ns;
	state->status = derive(state);
	return 0;
}
