/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reload at mount time (DESIGN section 6, steps 2 and 4).
 *
 * Runs before the mount serves anything, in one thread. A row that fails is told loudly and shown in
 * quarantine/; it stays in the store as it is, so that deploying the same archive again repairs it.
 */
#include "engine/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/log.h"
#include "engine/quarantine.h"
#include "engine/tree.h"
#include "store/contents.h"

#define MANIFEST_MAX (1024u * 1024)
#define LINK_STEPS   40

/* ---- one version ---- */

/* Follows the package's own links from `node`; UINT32_MAX when it leads nowhere. */
static uint32_t follow(const struct tree *tree, uint32_t node, unsigned *steps);

static uint32_t walk(const struct tree *tree, uint32_t from, const char *path, size_t length,
		     unsigned *steps)
{
	const char *end = path + length;

	while (path < end && from != UINT32_MAX) {
		size_t part = strcspn(path, "/");

		if (part > (size_t)(end - path))
			part = (size_t)(end - path);
		if (part == 2 && memcmp(path, "..", 2) == 0) {
			from = tree_node(tree, from)->parent;
		} else if (part > 0 && !(part == 1 && path[0] == '.')) {
			if (tree_lookup(tree, from, path, part, &from) != 0)
				return UINT32_MAX;
			from = follow(tree, from, steps);
		}
		path += part + (path + part < end);
	}
	return from;
}

static uint32_t follow(const struct tree *tree, uint32_t node, unsigned *steps)
{
	const struct tree_node *link = tree_node(tree, node);

	if (link->kind != INDEX_LINK)
		return node;
	if ((*steps)++ >= LINK_STEPS)
		return UINT32_MAX;
	return walk(tree, link->parent, link->target, link->target_length, steps);
}

static bool find_executable(const struct tree *tree, const char *function)
{
	unsigned steps = 0;
	uint32_t bin, node;
	const struct tree_node *found;

	bin = walk(tree, 0, "bin", 3, &steps);
	if (bin == UINT32_MAX)
		return false;
	node = walk(tree, bin, function, strlen(function), &steps);
	if (node == UINT32_MAX)
		return false;
	found = tree_node(tree, node);
	return found->kind == INDEX_FILE && found->executable;
}

static int judge_tree(struct store *store, const struct tree *tree, const char *type,
		      struct manifest *ret_manifest, bool *ret_has_executable,
		      struct reason *reason)
{
	const struct tree_node *node;
	uint32_t number;
	size_t length;
	char *text;
	int error;

	if (tree_lookup(tree, 0, "manifest.json", 13, &number) != 0)
		return reason_set(reason, EBADMSG, "manifest_missing",
				  "its index names no manifest.json");
	node = tree_node(tree, number);
	if (node->kind != INDEX_FILE)
		return reason_set(reason, EBADMSG, "manifest_invalid",
				  "its manifest.json is no file");
	error = contents_load(store, &node->digest, MANIFEST_MAX, &text, &length, reason);
	if (error) {
		reason_prefix(reason, "manifest.json");
		return error == -ENOMEM ? error : -EBADMSG;
	}
	error = manifest_parse(text, length, ret_manifest, reason);
	free(text);
	if (error)
		return error == -ENOMEM ? error : -EBADMSG;
	if (strcmp(ret_manifest->type, type) != 0)
		return reason_set(reason, EBADMSG, "manifest_invalid",
				  "its manifest names type %s, its row %.100s", ret_manifest->type,
				  type);
	*ret_has_executable = find_executable(tree, ret_manifest->function);
	return 0;
}

int reload_judge(struct store *store, const struct version_row *row, struct manifest *ret_manifest,
		 bool *ret_has_executable, struct reason *reason)
{
	struct tree *tree;
	size_t length;
	char *text;
	int error = contents_load(store, &row->version, (size_t)row->index_bytes, &text, &length,
				  reason);

	if (error) {
		reason_prefix(reason, "its index");
		return error == -ENOMEM ? error : -EBADMSG;
	}
	error = tree_new(text, length, &tree, reason);
	if (error) {
		reason_prefix(reason, "its index");
		return error == -ENOMEM ? error : -EBADMSG;
	}
	error = judge_tree(store, tree, row->type, ret_manifest, ret_has_executable, reason);
	tree_free(tree);
	return error;
}

/* ---- all versions ---- */

struct rows {
	struct engine *engine;
	struct version_row *rows;
	size_t count, room;
};

static void refuse(struct engine *engine, const char *type, const char *name,
		   const struct reason *why)
{
	struct reason reason = *why;

	reason_set(&reason, EBADMSG, why->code,
		   "%.400s. It is not loaded; everything else is. Remedy: deploy the same archive "
		   "again",
		   why->message);
	quarantine_add(engine, type, name, &reason);
	log_note(engine, "quarantined", true,
		 json_pack("{s:o, s:s, s:s, s:o}", "type", audit_string(type), "version", name,
			   "code", reason.code, "message", audit_string(reason.message)));
}

static int collect(void *context, const char *type, const struct digest *version,
		   const struct version_row *row, const struct reason *why)
{
	struct rows *rows = context;
	char hex[DIGEST_HEX + 1];

	if (!row) {
		refuse(rows->engine, type, digest_hex(version, hex), why);
		return 0;
	}
	if (rows->count == rows->room) {
		size_t wanted = rows->room ? rows->room * 2 : 64;
		struct version_row *larger = realloc(rows->rows, wanted * sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		rows->rows = larger;
		rows->room = wanted;
	}
	rows->rows[rows->count++] = *row;
	return 0;
}

static int by_change(const void *left, const void *right)
{
	const struct version_row *a = left, *b = right;

	return a->changed < b->changed ? -1 : a->changed > b->changed;
}

static int load_version(struct engine *engine, const struct version_row *row)
{
	struct version *version = version_new();
	struct reason reason = {0};
	int error;

	if (!version)
		return -ENOMEM;
	memcpy(version->type, row->type, sizeof(version->type));
	version->digest = row->version;
	digest_hex(&row->version, version->hex);
	version->store = engine->store;
	version_from_row(version, row);
	error = reload_judge(engine->store, row, &version->manifest, &version->has_executable,
			     &reason);
	if (error == -EBADMSG) {
		refuse(engine, version->type, version->hex, &reason);
		version_free(version);
		return 0;
	}
	if (!error)
		error = catalog_add(engine->catalog, version);
	if (error)
		version_free(version);
	return error;
}

int reload_versions(struct engine *engine, struct reason *reason)
{
	struct rows rows = {.engine = engine};
	int error = rows_each_version(engine->store, collect, &rows);

	if (rows.count > 0)
		qsort(rows.rows, rows.count, sizeof(*rows.rows), by_change);
	for (size_t i = 0; !error && i < rows.count; i++)
		error = load_version(engine, &rows.rows[i]);
	free(rows.rows);
	if (error)
		return reason_set(reason, -error, "store_failed",
				  "the versions in %s can't be read: %s; run aionfs fsck %s",
				  engine->options.state, strerror(-error), engine->options.state);
	return 0;
}

/* ---- routes ---- */

/* The route that a type's own reload gives it: its latest version that came in through deploy/. */
static struct version *latest_deployed(struct engine *engine, const char *type)
{
	struct version *latest = NULL;
	struct version_list list;

	if (catalog_list_versions(engine->catalog, type, &list) != 0)
		return NULL;
	for (size_t i = 0; i < list.count; i++) {
		uint64_t deployed = atomic_load(&list.versions[i]->deployed);

		if (deployed > 0 && (!latest || deployed > atomic_load(&latest->deployed)))
			latest = list.versions[i];
	}
	if (latest)
		version_get(latest);
	catalog_list_free(&list);
	return latest;
}

static void fall_back(struct engine *engine, const char *type, const char *wanted,
		      const char *why)
{
	struct version *latest = latest_deployed(engine, type);
	json_t *fallback = json_pack("{s:o, s:s, s:s?, s:s}", "type", audit_string(type), "wanted",
				     wanted, "routed", latest ? latest->hex : NULL, "why", why);

	if (latest)
		catalog_set_route(engine->catalog, type, &latest->digest, engine->mounted_ns);
	version_put(latest);
	json_array_append(engine->fallbacks, fallback);
	log_note(engine, "route_fallback", true, fallback);
}

struct restoration {
	struct engine *engine;
	json_t *seen; /* the types that have a row, readable or not */
};

static int restore_route(void *context, const char *type, const struct route_row *row,
			 const struct reason *why)
{
	struct restoration *restoration = context;
	struct engine *engine = restoration->engine;
	char hex[DIGEST_HEX + 1];
	struct version *version;

	if (!row) {
		struct reason reason = *why;

		reason_set(&reason, EBADMSG, why->code,
			   "the route of %.100s is unreadable (%.300s); its type has the route of "
			   "its latest deploy. Remedy: ln -sfn ../packages/TYPE/VERSION routes/TYPE",
			   type, why->message);
		quarantine_add(engine, type, "route", &reason);
		log_note(engine, "quarantined", true,
			 json_pack("{s:o, s:s, s:s}", "type", audit_string(type), "code",
				   reason.code, "message", reason.message));
		return 0;
	}
	json_object_set_new(restoration->seen, type, json_true());
	if (row->removed)
		return 0;
	version = catalog_find(engine->catalog, type, &row->version);
	if (version)
		catalog_set_route(engine->catalog, type, &row->version, row->at_ns);
	else
		fall_back(engine, type, digest_hex(&row->version, hex), "it is not loaded");
	version_put(version);
	return 0;
}

/*
 * Every deploy writes its type's route row and a removal leaves one that says so: a deployed type without
 * a readable row has lost it.
 */
static int restore_lost_routes(struct engine *engine, const json_t *seen)
{
	struct name_list types;
	int error = catalog_list_types(engine->catalog, &types);

	for (size_t i = 0; !error && i < types.count; i++) {
		struct version *latest;

		if (json_object_get(seen, types.names[i]))
			continue;
		latest = latest_deployed(engine, types.names[i]);
		if (latest)
			fall_back(engine, types.names[i], "unreadable", "its row is damaged");
		version_put(latest);
	}
	free(types.names);
	return error;
}

int reload_routes(struct engine *engine, struct reason *reason)
{
	struct restoration restoration = {.engine = engine, .seen = json_object()};
	int error = restoration.seen ? 0 : -ENOMEM;

	if (!error)
		error = rows_each_route(engine->store, restore_route, &restoration);
	if (!error)
		error = restore_lost_routes(engine, restoration.seen);
	json_decref(restoration.seen);
	if (error)
		return reason_set(reason, -error, "store_failed",
				  "the routes in %s can't be read: %s; run aionfs fsck %s",
				  engine->options.state, strerror(-error), engine->options.state);
	return 0;
}
