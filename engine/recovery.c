/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing runs back. The tables are walked once each: IDs by name, then events by number, so what
 * this costs is one pass over what is there, however many runs sleep.
 */
#include "engine/recovery.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/log.h"
#include "engine/quarantine.h"
#include "engine/run_log.h"
#include "engine/run_private.h"
#include "engine/runs.h"
#include "engine/supervisor.h"
#include "store/journal.h"

/* Where a run shows in quarantine/. A type may be called so, too: an ID is no version. */
#define QUARANTINED_AS "runs"

struct loading {
	struct engine *engine;
	struct run **runs; /* by number, once they are sorted */
	size_t count, room;
	size_t current; /* whose events are being read */
	struct items items;
	bool is_bad;
};

static void isolate(struct engine *engine, const char *id, const char *what)
{
	struct reason reason = {0};

	reason_set(&reason, EBADMSG, "history_damaged",
		   "%s; the run is left out. Its rows stay in the store: aionfs fsck names them; "
		   "restore a backup, or start the work again under another ID",
		   what);
	quarantine_add(engine, QUARANTINED_AS, id, &reason);
	log_note(engine, "run_quarantined", true,
		 json_pack("{s:o, s:s}", "run", audit_string(id), "message", reason.message));
}

static int take_run(void *context, const char *id, uint64_t number, const struct reason *why)
{
	struct loading *loading = context;

	if (why) {
		isolate(loading->engine, id[0] ? id : "unreadable", why->message);
		return 0;
	}
	if (loading->count == loading->room) {
		size_t room = loading->room ? loading->room * 2 : 1024;
		struct run **runs = realloc(loading->runs, room * sizeof(struct run *));

		if (!runs)
			return -ENOMEM;
		loading->runs = runs;
		loading->room = room;
	}
	loading->runs[loading->count] = run_new(id, number);
	return loading->runs[loading->count++] ? 0 : -ENOMEM;
}

static int by_number(const void *left, const void *right)
{
	const struct run *a = *(struct run *const *)left, *b = *(struct run *const *)right;

	return (a->number > b->number) - (a->number < b->number);
}

/* The current run's history is complete: into the table with it, or aside. */
static void finish_run(struct loading *loading)
{
	struct run *run = loading->runs[loading->current];

	loading->runs[loading->current++] = NULL;
	if (loading->is_bad || run->state.sequence == 0) {
		isolate(loading->engine, run->id,
			loading->is_bad ? "its history is damaged" : "it has no history");
		run_put(run);
	} else {
		run->timer_due_ns = items_next_due(&loading->items);
		runs_insert(loading->engine, run);
	}
	loading->is_bad = false;
	items_clear(&loading->items);
}

static int take_event(void *context, const struct event_bytes *bytes)
{
	struct loading *loading = context;
	struct run *run;
	struct event event;
	int error;

	while (loading->current < loading->count &&
	       loading->runs[loading->current]->number < bytes->run)
		finish_run(loading);
	/* Events that no run claims are left where they are; fsck tells them. */
	if (loading->current == loading->count ||
	    loading->runs[loading->current]->number != bytes->run || loading->is_bad)
		return 0;
	run = loading->runs[loading->current];
	error = event_decode(bytes, &event);
	if (!error)
		error = run_fold(&run->state, &loading->items, &event);
	if (error == -EBADMSG)
		loading->is_bad = true;
	return error == -EBADMSG ? 0 : error;
}

/* What a crash left of runs that were removed. A log that stays is untidy, and no more. */
static void sweep_logs(const struct loading *loading)
{
	uint64_t *numbers = malloc((loading->count + 1) * sizeof(*numbers));

	for (size_t i = 0; numbers && i < loading->count; i++)
		numbers[i] = loading->runs[i]->number;
	if (numbers)
		run_log_sweep(loading->engine->runs->log_directory, numbers, loading->count);
	free(numbers);
}

static int load(struct loading *loading)
{
	struct store *store = loading->engine->store;
	int error = journal_each_run(store, take_run, loading);

	if (!error && loading->count)
		qsort(loading->runs, loading->count, sizeof(struct run *), by_number);
	if (!error)
		sweep_logs(loading);
	if (!error)
		error = journal_each_event(store, take_event, loading);
	while (!error && loading->current < loading->count)
		finish_run(loading);
	for (size_t i = 0; i < loading->count; i++)
		run_put(loading->runs[i]);
	items_clear(&loading->items);
	free(loading->runs);
	return error;
}

static void look_at(void *context, struct run *run)
{
	supervisor_attend(context, run);
}

int recovery_open(struct engine *engine, struct reason *reason)
{
	struct loading loading = {.engine = engine};
	int error = runs_new(engine);

	if (!error)
		error = load(&loading);
	if (!error)
		error = supervisor_open(engine);
	if (error)
		return reason_set(reason, -error, "store_failed",
				  "the runs of %s can't be loaded: %s", engine->options.state,
				  strerror(-error));
	runs_each(engine, look_at, engine);
	supervisor_settle(engine);
	return 0;
}
