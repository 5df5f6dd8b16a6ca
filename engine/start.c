/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a start, from an input in a spool to a pinned run:
 *
 *     pin      under the type's lock: which version is routed now, and nobody may unload it
 *     commit   one transaction: the run's row, WorkflowStarted, the input, an audit line
 *     publish  the table, and the supervisor takes over
 *
 * The pin is taken before the commit and without holding the type's lock across it, so that many
 * starts share one transaction, and an unload and a start never both win.
 */
#include "engine/start.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/log.h"
#include "engine/permit.h"
#include "engine/run_private.h"
#include "engine/runs.h"
#include "engine/type.h"
#include "store/journal.h"

static int explain_version(const struct version *version, struct reason *reason)
{
	if (!version->has_executable)
		return reason_set(reason, ENOEXEC, "executable_missing",
				  "%s/%s has no executable bin/%s: it can be browsed, but not run",
				  version->type, version->hex, version->manifest.function);
	if (atomic_load(&version->is_damaged))
		return reason_set(
		    reason, EIO, "content_damaged",
		    "%s/%s is damaged: read quarantine/%s/%s; deploy the same archive "
		    "again to repair it",
		    version->type, version->hex, version->type, version->hex);
	return 0;
}

/* The version that a start means, with a reference. */
static int find_version(struct engine *engine, const char *type, const struct digest *named,
			struct version **ret_version, struct reason *reason)
{
	struct digest digest;
	char hex[DIGEST_HEX + 1];

	if (named)
		digest = *named;
	else if (catalog_route(engine->catalog, type, &digest) != 0)
		return reason_set(reason, ENOENT, "route_missing",
				  "%s has no route: deploy it, or point one: ln -sfn "
				  "../packages/%s/VERSION routes/%s",
				  type, type, type);
	*ret_version = catalog_find(engine->catalog, type, &digest);
	if (!*ret_version)
		return reason_set(reason, ENOENT, "version_absent",
				  "%s/%s is not loaded: see packages/%s and quarantine/%s", type,
				  digest_hex(&digest, hex), type, type);
	return explain_version(*ret_version, reason);
}

static int refuse_taken(const char *id, const char *why, struct reason *reason)
{
	return reason_set(reason, EEXIST, "run_exists",
			  "run %s exists already, %s: choose another ID", id, why);
}

/* Whether a run that is there can be what this start asks for. `input` may be NULL: not known yet.
 */
static int judge_existing(struct engine *engine, const struct caller *caller, const char *type,
			  const struct digest *named, const char *id, const struct value *input,
			  struct reason *reason)
{
	struct run_value_view view;
	struct run_view run;
	int error = runs_view(engine, id, &run);

	if (error)
		return error;
	if (run.uid != caller->uid)
		return reason_set(reason, EACCES, "not_permitted", "run %s is another user's", id);
	if (strcmp(run.type, type) != 0)
		return refuse_taken(id, "with another type", reason);
	if (named && !digest_equal(&run.version, named))
		return refuse_taken(id, "on another version", reason);
	if (!input)
		return 0;
	error = runs_find_value(engine, id, RUN_VALUE_INPUT, NULL, &view);
	if (!error && !digest_equal(&view.digest, value_digest(input)))
		error = refuse_taken(id, "with another input", reason);
	return error;
}

static int check_caller(struct engine *engine, const struct caller *caller, const char *type,
			const char *id, struct reason *reason)
{
	int error = permit_start(engine, caller, type, reason);

	if (error)
		return error;
	if (id && !type_is_valid(id, strlen(id)))
		return reason_set(
		    reason, EINVAL, "name_invalid",
		    "\"%.140s\" can't be a run's ID: 1 to %d of A-Z a-z 0-9 _ @ . -, no "
		    "leading dot, not 64 hex digits",
		    id, RUN_ID_MAX);
	if (geteuid() != 0 && caller->uid != geteuid())
		return reason_set(
		    reason, EPERM, "not_permitted",
		    "this mount has no privileges: it can run workflows of user %u only",
		    (unsigned)geteuid());
	return 0;
}

int start_check(struct engine *engine, const struct caller *caller, const char *type,
		const struct digest *version, const char *id, struct reason *reason)
{
	struct version *found = NULL;
	int error = check_caller(engine, caller, type, id, reason);

	if (error)
		return error;
	if (id)
		error = judge_existing(engine, caller, type, version, id, NULL, reason);
	if (id && error != -ENOENT)
		return error;
	error = find_version(engine, type, version, &found, reason);
	version_put(found);
	return error;
}

/* Under the type's lock the route can't move, and no unload is between its check and its end. */
static int pin_version(struct engine *engine, const char *type, const struct digest *named,
		       struct version **ret_version, struct reason *reason)
{
	int error;

	*ret_version = NULL;
	catalog_lock_type(engine->catalog, type);
	error = find_version(engine, type, named, ret_version, reason);
	if (!error)
		atomic_fetch_add(&(*ret_version)->pins, 1);
	catalog_unlock_type(engine->catalog, type);
	if (error) {
		version_put(*ret_version);
		*ret_version = NULL;
	}
	return error;
}

static char *audit_text(const struct run *run, const struct caller *caller,
			const struct version *version, size_t *ret_length)
{
	return audit_line("start", clock_wall_ns(), caller,
			  json_pack("{s:s, s:s, s:s}", "run", run->id, "type", version->type,
				    "version", version->hex),
			  ret_length);
}

static struct event started_event(const struct caller *caller, const struct version *version,
				  const struct value *input)
{
	struct event event = {
	    .kind = EVENT_WORKFLOW_STARTED,
	    .version = version->digest,
	    .digest = *value_digest(input),
	    .bytes = value_size(input),
	    .uid = caller->uid,
	    .gid = caller->gid,
	};

	strcpy(event.name, version->type);
	if (version->manifest.has_timeout)
		event.until_ns = clock_wall_ns() + (int64_t)version->manifest.timeout_ns;
	return event;
}

static int append_start(struct engine *engine, struct run *run, const struct caller *caller,
			struct version *version, struct value *input, struct reason *reason)
{
	struct event event = started_event(caller, version, input);
	struct append append = {.events = &event, .count = 1, .value = input, .is_new = true};
	char *audit = audit_text(run, caller, version, &append.audit_length);
	int error;

	if (!audit)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	append.audit = audit;
	error = history_append(engine, run, &append, reason);
	free(audit);
	return error;
}

/* Makes the run, which takes the pin and the input over. */
static int create(struct engine *engine, const struct caller *caller, struct version *version,
		  const char *id, struct value *input, struct reason *reason)
{
	struct run *run = run_new(id, journal_next_run(engine->store));
	int error;

	if (!run)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	pthread_mutex_lock(&run->lock);
	error = append_start(engine, run, caller, version, input, reason);
	if (!error) {
		pin_set(run, version);
		runs_insert(engine, run_get(run));
	}
	pthread_mutex_unlock(&run->lock);
	if (!error)
		supervisor_attend(engine, run);
	run_put(run);
	return error;
}

/* Under the lock of the ID. A run that is there already and fits is a success, too. */
static int start(struct engine *engine, const struct caller *caller, const char *type,
		 const struct digest *named, const char *id, struct value *input,
		 bool *ret_is_created, struct reason *reason)
{
	struct version *version;
	int error = judge_existing(engine, caller, type, named, id, input, reason);

	*ret_is_created = false;
	if (error != -ENOENT)
		return error;
	error = pin_version(engine, type, named, &version, reason);
	if (error)
		return error;
	error = create(engine, caller, version, id, input, reason);
	*ret_is_created = error == 0;
	if (error) {
		atomic_fetch_sub(&version->pins, 1);
		version_put(version);
	}
	return error;
}

static void note_failure(struct engine *engine, const struct caller *caller, const char *type,
			 const char *id, const struct reason *reason)
{
	log_note(engine, "start_failed", false,
		 json_pack("{s:o, s:o, s:s, s:o, s:I}", "type", audit_string(type), "run",
			   audit_string(id), "code", reason->code, "message",
			   audit_string(reason->message), "uid", (json_int_t)caller->uid));
}

int start_run(struct engine *engine, const struct caller *caller, const char *type,
	      const struct digest *version, const char *id, int fd, uint64_t size,
	      struct reason *reason)
{
	struct value *input = NULL;
	bool is_created = false;
	int error = check_caller(engine, caller, type, id, reason);

	if (!error && size > INPUT_BYTES_MAX)
		error =
		    reason_set(reason, EFBIG, "input_too_large",
			       "the input of run %s has more than %u bytes", id, INPUT_BYTES_MAX);
	if (!error)
		error = value_read(engine->store, fd, size, &input, reason);
	if (!error) {
		runs_lock_id(engine, id);
		error = start(engine, caller, type, version, id, input, &is_created, reason);
		runs_unlock_id(engine, id);
	}
	if (!is_created)
		value_settle(input, false);
	if (error)
		note_failure(engine, caller, type, id, reason);
	return error;
}
