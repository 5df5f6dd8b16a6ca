/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the way of an event into a history: validated by the fold, committed, and only then
 * published. Invariant: what is in memory is the fold of what is durable; after a failed commit
 * nothing changed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/log.h"
#include "engine/run_private.h"
#include "engine/runs.h"
#include "store/journal.h"

#define EVENTS_MAX 40
/* The run's row, the events, a value and an audit line. */
#define CHANGES_MAX (EVENTS_MAX + 3)
/* The items of a run with longer texts than that are not kept for the next reader. */
#define KEPT_TEXT_MAX (16u << 20)

/* ---- loading ---- */

struct folding {
	struct run_state *state;
	struct items *items;
};

static int fold_one(void *context, const struct event_bytes *bytes)
{
	struct folding *folding = context;
	struct event event;
	int error = event_decode(bytes, &event);

	return error ? error : run_fold(folding->state, folding->items, &event);
}

int history_fold(struct engine *engine, uint64_t number, struct run_state *ret_state,
		 struct items *ret_items)
{
	struct run_state own = {0};
	struct folding folding = {.state = ret_state ? ret_state : &own, .items = ret_items};
	int error = journal_events(engine->store, number, 1, fold_one, &folding);

	run_state_free(&own);
	return error == -EBADMSG ? -EIO : error;
}

/* What is kept, if it is of this run and has all of its events. */
static bool take_kept(struct runs *runs, const struct run *run, struct items *ret_items,
		      uint64_t *ret_sequence)
{
	bool is_it;

	pthread_rwlock_rdlock(&runs->lock);
	pthread_mutex_lock(&runs->kept_lock);
	is_it = runs->kept_run == run->number && runs->kept_sequence == run->state.sequence;
	if (is_it) {
		*ret_items = runs->kept;
		*ret_sequence = runs->kept_sequence;
		runs->kept = (struct items){0};
		runs->kept_run = 0;
	}
	pthread_mutex_unlock(&runs->kept_lock);
	pthread_rwlock_unlock(&runs->lock);
	return is_it;
}

void history_return_items(struct engine *engine, struct run *run, struct items *items,
			  uint64_t sequence)
{
	struct runs *runs = engine->runs;
	struct items old = *items;

	if (items->text_bytes <= KEPT_TEXT_MAX) {
		pthread_mutex_lock(&runs->kept_lock);
		old = runs->kept;
		runs->kept = *items;
		runs->kept_run = run->number;
		runs->kept_sequence = sequence;
		pthread_mutex_unlock(&runs->kept_lock);
	}
	items_clear(&old);
	*items = (struct items){0};
}

int history_load_items(struct engine *engine, struct run *run)
{
	struct items *items;
	uint64_t sequence;
	int error = 0;

	if (run->items)
		return 0;
	items = calloc(1, sizeof(*items));
	if (!items)
		error = -ENOMEM;
	else if (!take_kept(engine->runs, run, items, &sequence))
		error = history_fold(engine, run->number, NULL, items);
	if (error) {
		if (items)
			items_clear(items);
		free(items);
		return error;
	}
	pthread_rwlock_wrlock(&engine->runs->lock);
	run->items = items;
	pthread_rwlock_unlock(&engine->runs->lock);
	return 0;
}

void history_drop_items(struct engine *engine, struct run *run)
{
	struct items *items = run->items;

	if (!items || run->state.has_attempt)
		return;
	pthread_rwlock_wrlock(&engine->runs->lock);
	run->items = NULL;
	pthread_rwlock_unlock(&engine->runs->lock);
	history_return_items(engine, run, items, run->state.sequence);
	free(items);
}

static int copy_item(const struct items *items, enum item_kind kind, const char *name,
		     struct item *ret_item)
{
	const struct item *item = items_find(items, kind, name);

	if (!item)
		return -ENOENT;
	*ret_item = *item;
	ret_item->text = strdup(item->text);
	ret_item->name = strdup(item->name);
	if (ret_item->text && ret_item->name)
		return 0;
	free(ret_item->text);
	free(ret_item->name);
	return -ENOMEM;
}

int history_borrow_items(struct engine *engine, struct run *run, struct items *ret_items,
			 uint64_t *ret_sequence)
{
	struct run_state state = {0};
	int error;

	*ret_items = (struct items){0};
	if (take_kept(engine->runs, run, ret_items, ret_sequence))
		return 0;
	error = history_fold(engine, run->number, &state, ret_items);
	*ret_sequence = state.sequence;
	run_state_free(&state);
	if (error)
		items_clear(ret_items);
	return error;
}

int history_find_item(struct engine *engine, struct run *run, enum item_kind kind, const char *name,
		      struct item *ret_item)
{
	struct items items;
	uint64_t sequence;
	bool is_loaded;
	int error = 0;

	pthread_rwlock_rdlock(&engine->runs->lock);
	is_loaded = run->items != NULL;
	if (is_loaded)
		error = copy_item(run->items, kind, name, ret_item);
	pthread_rwlock_unlock(&engine->runs->lock);
	if (is_loaded)
		return error;
	error = history_borrow_items(engine, run, &items, &sequence);
	if (error)
		return error;
	error = copy_item(&items, kind, name, ret_item);
	history_return_items(engine, run, &items, sequence);
	return error;
}

/* ---- appending ---- */

static void number_events(const struct run *run, const struct append *append)
{
	int64_t at_ns = clock_wall_ns();

	for (size_t i = 0; i < append->count; i++) {
		append->events[i].sequence = run->state.sequence + 1 + i;
		append->events[i].at_ns = at_ns;
	}
}

/* The state as it will be. */
static int fold_ahead(const struct run *run, const struct append *append,
		      struct run_state *ret_state)
{
	int error = run_state_copy(ret_state, &run->state);

	if (error)
		return error;
	for (size_t i = 0; i < append->count && !error; i++)
		error = run_fold(ret_state, NULL, &append->events[i]);
	if (error)
		run_state_free(ret_state);
	return error == -EBADMSG ? -EIO : error;
}

/* The changes of one commit. Those of events own their bytes. */
static int make_changes(const struct run *run, const struct append *append,
			struct row_change changes[CHANGES_MAX], size_t *ret_count,
			struct reason *reason)
{
	size_t count = 0;
	int error = 0;

	if (append->is_new)
		changes[count++] =
		    (struct row_change){.kind = ROW_PUT_RUN, .run = run->number, .name = run->id};
	for (size_t i = 0; i < append->count && !error; i++) {
		const struct event *event = &append->events[i];
		uint8_t *bytes = NULL;
		size_t length = 0;

		error = event_encode(event, &bytes, &length);
		if (!error)
			changes[count++] = (struct row_change){.kind = ROW_APPEND_EVENT,
							       .run = run->number,
							       .sequence = event->sequence,
							       .text = (const char *)bytes,
							       .text_length = length};
	}
	if (!error && append->value) {
		error =
		    value_put(append->value, run->number, append->events[append->value_of].sequence,
			      &changes[count], reason);
		count += error == 0;
	}
	if (!error && append->audit)
		changes[count++] = (struct row_change){.kind = ROW_APPEND_AUDIT,
						       .text = append->audit,
						       .text_length = append->audit_length};
	*ret_count = count;
	return error;
}

static int commit(struct engine *engine, const struct run *run, const struct append *append,
		  struct reason *reason)
{
	struct row_change changes[CHANGES_MAX];
	size_t count = 0;
	int error = make_changes(run, append, changes, &count, reason);

	if (!error)
		error = rows_commit(engine->store, changes, count, reason);
	for (size_t i = 0; i < count; i++) {
		if (changes[i].kind == ROW_APPEND_EVENT)
			free((char *)changes[i].text);
	}
	return error;
}

static void publish(struct engine *engine, struct run *run, const struct append *append,
		    const struct run_state *state)
{
	struct runs *runs = engine->runs;
	struct run_state old = run->state;
	struct items *stale = NULL;

	pthread_rwlock_wrlock(&runs->lock);
	if (!append->is_new) {
		runs->by_status[old.status]--;
		runs->by_status[state->status]++;
	}
	if (old.status != state->status || append->is_new)
		runs->changed_ns = state->changed_ns;
	run->state = *state;
	for (size_t i = 0; run->items && i < append->count; i++) {
		/* Without memory the items are read from the store again when they are needed. */
		if (run_fold_items(run->items, &append->events[i]) != 0) {
			stale = run->items;
			run->items = NULL;
		}
	}
	pthread_rwlock_unlock(&runs->lock);
	run_state_free(&old);
	if (stale)
		items_clear(stale);
	free(stale);
}

int history_append(struct engine *engine, struct run *run, const struct append *append,
		   struct reason *reason)
{
	struct run_state state;
	int error;

	if (append->count > EVENTS_MAX)
		return -EINVAL;
	number_events(run, append);
	error = fold_ahead(run, append, &state);
	if (error)
		return reason_set(reason, -error, "run_failed",
				  "run %s is %s: this can't be recorded now", run->id,
				  run_status_name(run->state.status));
	error = commit(engine, run, append, reason);
	if (error) {
		run_state_free(&state);
		return error;
	}
	value_settle(append->value, true);
	/* Whoever sees its end may unload its version. */
	if (run_is_final(state.status))
		pin_drop(run);
	publish(engine, run, append, &state);
	if (append->audit)
		log_audited(engine);
	wait_notify(engine, run, append->events, append->count);
	return 0;
}

int history_append_loudly(struct engine *engine, struct run *run, struct append *append,
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

int history_append_events(struct engine *engine, struct run *run, struct event *events,
			  size_t count)
{
	const struct append append = {.events = events, .count = count};
	struct reason reason = {0};

	return history_append(engine, run, &append, &reason);
}

/* ---- as a text ---- */

static int print_event(void *context, const struct event_bytes *bytes)
{
	FILE *out = context;
	struct event event;
	size_t length;
	char *line;

	if (event_decode(bytes, &event) != 0) {
		fprintf(out, "{\"seq\":%llu,\"event\":\"unreadable\"}\n",
			(unsigned long long)bytes->sequence);
		return 0;
	}
	line = event_line(&event, &length);
	if (!line)
		return -ENOMEM;
	fwrite(line, 1, length, out);
	free(line);
	return 0;
}

int runs_history(struct engine *engine, const char *id, char **ret_text, size_t *ret_length)
{
	FILE *out;
	struct run_view view;
	int error = runs_view(engine, id, &view);

	if (error)
		return error;
	*ret_text = NULL;
	out = open_memstream(ret_text, ret_length);
	if (!out)
		return -ENOMEM;
	error = journal_events(engine->store, view.number, 1, print_event, out);
	if (fclose(out) != 0 && !error)
		error = -ENOMEM;
	if (error) {
		free(*ret_text);
		*ret_text = NULL;
	}
	return error;
}
