/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which version a run is pinned to, and what becomes of the run when that is not there. A pin is a
 * reference and a count: a version with pins is not unloaded.
 */
#include "engine/pin.h"

#include <stdio.h>
#include <string.h>

#include "engine/log.h"
#include "engine/run_private.h"
#include "engine/runs.h"

void pin_set(struct run *run, struct version *version)
{
	run->pinned = version;
}

void pin_drop(struct run *run)
{
	struct version *version = run->pinned;

	if (!version)
		return;
	run->pinned = NULL;
	atomic_fetch_sub(&version->pins, 1);
	version_put(version);
}

/* Under the type's lock no unload is between its check and its end. */
void pin_take(struct engine *engine, struct run *run)
{
	struct version *version;

	catalog_lock_type(engine->catalog, run->state.type);
	version = catalog_find(engine->catalog, run->state.type, &run->state.version);
	if (version)
		atomic_fetch_add(&version->pins, 1);
	catalog_unlock_type(engine->catalog, run->state.type);
	if (version)
		pin_set(run, version);
}

static int strand(struct engine *engine, struct run *run)
{
	struct event events[2];
	struct append append = {.events = events};
	/* The longest type comes in it twice, and the remedy at its end. */
	char message[800], hex[DIGEST_HEX + 1];
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
		events[append.count++] = ending_event(run, ATTEMPT_STRANDED);
	events[append.count] = (struct event){.kind = EVENT_RUN_STRANDED};
	event_set_text(&events[append.count++], message);
	error = history_append_loudly(engine, run, &append, "run_stranded", message);
	if (error)
		return error;
	ending_kill(run);
	/* It may have come back before anybody could see a stranded run to tell it to. */
	supervisor_attend(engine, run);
	log_note(engine, "run_stranded", true,
		 json_pack("{s:s, s:s}", "run", run->id, "message", message));
	return 0;
}

int pin_check(struct engine *engine, struct run *run)
{
	struct event recovered = {.kind = EVENT_RUN_RECOVERED};
	bool is_there;

	if (!run->pinned)
		pin_take(engine, run);
	is_there = run->pinned && !atomic_load(&run->pinned->is_damaged);
	if (!is_there && !run->state.is_stranded)
		return strand(engine, run);
	if (is_there && run->state.is_stranded)
		return history_append_events(engine, run, &recovered, 1);
	return 0;
}

/* ---- all runs of a version ---- */

struct pinning {
	struct engine *engine;
	const char *type;
	const struct digest *version;
	char *id; /* of one; NULL: they are all to be attended */
};

static void match(void *context, struct run *run)
{
	struct pinning *pinning = context;

	if (run_is_final(run->state.status) ||
	    !digest_equal(&run->state.version, pinning->version) ||
	    strcmp(run->state.type, pinning->type) != 0)
		return;
	if (pinning->id)
		strcpy(pinning->id, run->id);
	else
		supervisor_attend(pinning->engine, run);
}

void pin_version_changed(struct engine *engine, const char *type, const struct digest *version,
			 bool is_good)
{
	struct pinning pinning = {.engine = engine, .type = type, .version = version};
	uint64_t counts[RUN_STATUSES];

	if (!engine->runs || !engine->runs->supervisor)
		return; /* during the reload; recovery will see */
	runs_count(engine, counts);
	/* Every deploy comes here: most find nobody whom it could help. */
	if (!is_good || counts[RUN_STRANDED])
		runs_each(engine, match, &pinning);
}

void pin_find_run(struct engine *engine, const char *type, const struct digest *version,
		  char ret_id[RUN_ID_MAX + 1])
{
	struct pinning pinning = {.type = type, .version = version, .id = ret_id};

	ret_id[0] = '\0';
	runs_each(engine, match, &pinning);
}
