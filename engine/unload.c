/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking a version away. The order keeps every crash harmless:
 *
 *     hold      a pending row names the version's contents; it counts only once the row is gone
 *     commit    the version's row goes: from here on it is unloaded
 *     release   its contents are given back, when the last reader is gone (engine/sweep.c)
 */
#include "engine/unload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/forest.h"
#include "engine/log.h"
#include "engine/permit.h"
#include "engine/pin.h"
#include "engine/quarantine.h"
#include "engine/sweep.h"
#include "store/contents.h"

static int compare_digests(const void *left, const void *right)
{
	return digest_compare(left, right);
}

/* The distinct contents that the version's row holds: its files, its index, its signature. */
static int list_contents(struct engine *engine, struct version *version,
			 struct digest **ret_digests, size_t *ret_count, struct reason *reason)
{
	const struct tree *tree;
	struct digest *digests;
	size_t count = 0, distinct = 0;
	int error = forest_get(engine, version, false, &tree, reason);

	if (error)
		return error;
	digests = malloc((tree_count(tree) + 2) * sizeof(*digests));
	for (uint32_t i = 0; digests && i < tree_count(tree); i++) {
		const struct tree_node *node = tree_node(tree, i);

		if (node->kind == INDEX_FILE)
			digests[count++] = node->digest;
	}
	forest_put(engine, version, tree);
	if (!digests)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	digests[count++] = version->digest;
	if (version->has_signature)
		digests[count++] = version->signature;
	qsort(digests, count, sizeof(*digests), compare_digests);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || !digest_equal(&digests[i], &digests[distinct - 1]))
			digests[distinct++] = digests[i];
	}
	*ret_digests = digests;
	*ret_count = distinct;
	return 0;
}

static int delete_row(struct engine *engine, const struct caller *caller, struct version *version,
		      struct reason *reason)
{
	struct row_change changes[2] = {{.kind = ROW_DELETE_VERSION}, {.kind = ROW_APPEND_AUDIT}};
	size_t length;
	char *line = audit_line("unload", clock_wall_ns(), caller,
				json_pack("{s:s, s:s}", "type", version->type, "version",
					  version->hex),
				&length);
	int error;

	if (!line)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	memcpy(changes[0].version.type, version->type, sizeof(version->type));
	changes[0].version.version = version->digest;
	changes[1].text = line;
	changes[1].text_length = length;
	error = rows_commit(engine->store, changes, 2, reason);
	free(line);
	return error;
}

static int unload_contents(struct engine *engine, const struct caller *caller,
			   struct version *version, struct reason *reason)
{
	struct digest *digests = NULL;
	size_t count = 0;
	uint64_t hold;
	int error = list_contents(engine, version, &digests, &count, reason);

	if (error)
		return error;
	error = contents_hold(engine->store, version->type, &version->digest, digests, count, &hold,
			      reason);
	free(digests);
	if (error)
		return error;
	error = delete_row(engine, caller, version, reason);
	if (error) {
		contents_hold_cancel(engine->store, hold);
		return error;
	}
	atomic_store(&version->unload_hold, hold);
	catalog_remove(engine->catalog, version, clock_wall_ns());
	quarantine_remove(engine, version->type, version->hex);
	return 0;
}

/* Under the type's lock no start is between its look at the route and its pin. */
static int check_pins(struct engine *engine, const struct version *version, struct reason *reason)
{
	char id[RUN_ID_MAX + 1];

	if (atomic_load(&version->pins) == 0)
		return 0;
	pin_find_run(engine, version->type, &version->digest, id);
	if (!id[0])
		return reason_set(reason, EBUSY, "version_pinned", "a run of %s/%s is being started",
				  version->type, version->hex);
	return reason_set(reason, EBUSY, "version_pinned",
			  "run %s is pinned to %s/%s and not finished: wait for it (cat "
			  "runs/%s/wait/result) or cancel it (echo cancel > runs/%s/ctl)",
			  id, version->type, version->hex, id, id);
}

static int check_unloadable(struct engine *engine, const struct version *version,
			    struct reason *reason)
{
	struct digest routed;

	if (version->is_operator)
		return reason_set(reason, EPERM, "operator_package",
				  "%s/%s was given on the mount's command line (-o package=): mount "
				  "without it",
				  version->type, version->hex);
	if (catalog_route(engine->catalog, version->type, &routed) == 0 &&
	    digest_equal(&routed, &version->digest))
		return reason_set(reason, EBUSY, "version_routed",
				  "routes/%s points to %s: point it elsewhere or remove it first",
				  version->type, version->hex);
	return check_pins(engine, version, reason);
}

int unload_version(struct engine *engine, const struct caller *caller, const char *type,
		   const struct digest *digest, struct reason *reason)
{
	struct version *version;
	int error = permit_deploy(engine, caller, "unload a version of", type, reason);

	if (error)
		return error;
	catalog_lock_type(engine->catalog, type);
	version = catalog_find(engine->catalog, type, digest);
	error = version ? check_unloadable(engine, version, reason) : -ENOENT;
	if (!error)
		error = unload_contents(engine, caller, version, reason);
	catalog_unlock_type(engine->catalog, type);
	version_put(version);
	if (!error) {
		log_audited(engine);
		/* Nobody reads it: its space is free when rmdir returns. */
		sweep_wait(engine);
	} else if (reason && reason->code[0]) {
		log_note(engine, "unload_refused", false,
			 json_pack("{s:s, s:s, s:s, s:I}", "type", type, "code", reason->code,
				   "message", reason->message, "uid", (json_int_t)caller->uid));
	}
	return error;
}
