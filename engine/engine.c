/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page that mounts a state: DESIGN section 6, in its order. What fails here fails the mount;
 * nothing is served before the last step.
 */
#include "engine/engine.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/clock.h"
#include "engine/forest.h"
#include "engine/log.h"
#include "engine/operator.h"
#include "engine/quarantine.h"
#include "engine/receipt.h"
#include "engine/recovery.h"
#include "engine/reload.h"
#include "engine/run_private.h"
#include "engine/supervisor.h"
#include "engine/sweep.h"
#include "engine/verify.h"

#define ARCHIVE_BYTES_DEFAULT  (4ull << 30)
#define INFLATED_BYTES_DEFAULT (16ull << 30)
#define ENTRIES_DEFAULT        1000000

static void set_defaults(struct engine_limits *limits)
{
	if (!limits->archive_bytes)
		limits->archive_bytes = ARCHIVE_BYTES_DEFAULT;
	if (!limits->inflated_bytes)
		limits->inflated_bytes = INFLATED_BYTES_DEFAULT;
	if (!limits->entries)
		limits->entries = ENTRIES_DEFAULT;
}

/* The parts that the reload fills. The sweep is first: a version that goes needs it. */
static int make_parts(struct engine *engine, struct reason *reason)
{
	int error = sweep_open(engine);

	if (!error) {
		engine->catalog = catalog_new(sweep_version, engine);
		engine->log = log_new(engine->store);
		engine->quarantine = quarantine_new();
		engine->forest = forest_new();
		engine->fallbacks = json_array();
		if (!engine->catalog || !engine->log || !engine->quarantine || !engine->forest ||
		    !engine->fallbacks)
			error = -ENOMEM;
	}
	if (!error)
		error = receipts_open(engine);
	if (error)
		return reason_set(reason, -error, "store_failed", "%s can't be loaded: %s",
				  engine->options.state, strerror(-error));
	return 0;
}

int engine_open(const struct engine_options *options, struct engine **ret_engine,
		struct reason *reason)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	int error;

	if (!engine)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	engine->options = *options;
	set_defaults(&engine->options.limits);
	engine->mounted_ns = clock_wall_ns();

	error = store_open(options->state, STORE_WRITE, &engine->store, reason);
	if (!error)
		error = make_parts(engine, reason);
	if (!error)
		error = reload_versions(engine, reason);
	if (!error)
		error = reload_routes(engine, reason);
	if (!error)
		error = operator_load(engine, reason);
	if (!error)
		error = recovery_open(engine, reason);
	if (error) {
		engine_close(engine);
		return error;
	}
	*ret_engine = engine;
	return 0;
}

void engine_on_attempt_end(struct engine *engine, void (*ended)(void *context, const char *run),
			   void *context)
{
	engine->attempt_ended = ended;
	engine->attempt_ended_context = context;
}

void engine_ready(struct engine *engine)
{
	int error = scrub_open(engine);

	if (error)
		log_note(engine, "scrub_failed", true,
			 json_pack("{s:s, s:s}", "message", strerror(-error), "remedy",
				   "contents are still verified at their first use"));
	supervisor_begin(engine);
	atomic_store(&engine->is_ready, true);
}

void engine_stop(struct engine *engine)
{
	supervisor_stop(engine);
}

void engine_close(struct engine *engine)
{
	if (!engine)
		return;
	supervisor_stop(engine);
	scrub_close(engine->scrub);
	engine->scrub = NULL;
	supervisor_close(engine);
	runs_free(engine);
	catalog_free(engine->catalog);
	sweep_close(engine->sweep);
	forest_free(engine->forest);
	operator_close(engine);
	receipts_close(engine->receipts);
	quarantine_free(engine->quarantine);
	json_decref(engine->fallbacks);
	log_free(engine->log);
	store_close(engine->store);
	free(engine);
}
