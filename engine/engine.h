/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/catalog.h"
#include "store/reason.h"
#include "store/store.h"

/*
 * One mounted state: store, catalog, and what goes on around them. The rest of engine/ works on this.
 * The way of a deploy is in deploy.c, the page that mounts in engine.c.
 */
struct log;
struct quarantine;
struct receipts;
struct forest;
struct scrub;
struct sweep;
struct runs;
struct json_t;

struct engine_limits {
	uint64_t archive_bytes;  /* of one archive, default 4 GiB */
	uint64_t inflated_bytes; /* of what it inflates to, default 16 GiB */
	uint64_t entries;        /* default 1,000,000 */
};

#define ENGINE_PACKAGES_MAX 64

struct engine_options {
	const char *state;
	struct engine_limits limits; /* zero: the default */
	uid_t owner;                 /* who mounted: may deploy */
	bool has_deploy_group;
	gid_t deploy_group;
	const char *packages[ENGINE_PACKAGES_MAX]; /* operator packages, in order */
	size_t package_count;
	bool no_scrub; /* leave verification to first use */

	/* Runs. */
	const char *mountpoint; /* absolute: attempts go there; NULL: none are started (tests) */
	bool has_start_group;
	gid_t start_group;	       /* may start runs, too; default: who may deploy */
	uint64_t max_attempts_running; /* 0: the default, 64 */
	uint64_t park_after_ns;	       /* 0: the default, 10 s */
	uint64_t keep_finished_ns;     /* finished runs older than that are removed; 0: never */
};

struct engine {
	struct engine_options options;
	struct store *store;
	struct store *operator_store; /* NULL without operator packages; removed at close */
	struct catalog *catalog;
	struct log *log;
	struct quarantine *quarantine;
	struct receipts *receipts;
	struct forest *forest;
	_Atomic(struct scrub *) scrub; /* set while `status` is read already */
	struct sweep *sweep;
	struct runs *runs; /* NULL until the reload is done */
	struct json_t *fallbacks; /* routes that the reload had to choose itself; set before ready */
	int64_t mounted_ns;	  /* wall clock */
	/* Told, in a thread of the supervisor, that nothing of an attempt of a run is left; or NULL. */
	void (*attempt_ended)(void *context, const char *run);
	void *attempt_ended_context;
	_Atomic bool is_ready;
	_Atomic uint64_t deploys, deploys_failed; /* of this mount, for metrics */
};

/* Who asks. The groups are looked up in /proc only when they matter. */
struct caller {
	uid_t uid;
	gid_t gid;
	pid_t pid; /* thread id; 0 from a foreign pid namespace */
	bool is_permitted; /* judged before, when the task could still be asked for its groups */
};

/*
 * Opens the state: store, reload, routes, operator packages, recovery. `options` and its strings are borrowed until engine_close.
 * Must be called with one thread. Returns store_open's errors, or a bad operator package's reason.
 */
int engine_open(const struct engine_options *options, struct engine **ret_engine,
		struct reason *reason);

/*
 * Asks to be told of the ends of attempts: one listener, before engine_ready; NULL after engine_stop.
 * It may look at runs (runs.h), and must not block.
 */
void engine_on_attempt_end(struct engine *engine, void (*ended)(void *context, const char *run),
			   void *context);

/* Says that the mount serves requests: `status` shows ready, the scrub and attempts begin. */
void engine_ready(struct engine *engine);

/*
 * Ends all attempts and starts no more; they resume at the next mount. Context: while requests are
 * still served, because attempts have files of the mount open. May be called twice.
 */
void engine_stop(struct engine *engine);

/* Stops attempts and the scrub, closes the store. No other call may be under way. NULL is accepted. */
void engine_close(struct engine *engine);

#endif
