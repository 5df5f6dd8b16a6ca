/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks a state without mounting it: the reload's own judgement of every row, then what a mount
 * never looks at: every content's bytes and every reference count. Reads only.
 *
 * Beside a mount the tables change between one look and the next, and nothing that is merely under
 * way may be told as damage. What holds then is this: the references of a version are taken before
 * its row is there and given back after it is gone. So of a version that was there both before and
 * after the contents were looked at, all references must have been there. More references than that
 * belong to an upload or a release, and a version that is gone by now is nobody's loss.
 */
#include "engine/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "engine/reload.h"
#include "engine/tree.h"
#include "store/contents.h"
#include "store/rows.h"

/* How often each content should be referenced: sorted by digest once all versions are read. */
struct reference {
	struct digest digest;
	uint64_t size;
	uint32_t version; /* one that names it, for the message */
};

/* A content as it was found. */
struct found {
	struct digest digest;
	uint64_t size, references;
};

struct fsck {
	const struct fsck_watcher *watcher;
	struct fsck_totals totals;
	struct store *store;
	bool beside_mount;
	bool is_blind; /* some version's contents are not known: counts may seem too high */
	struct version_row *versions;
	bool *present; /* of each version: whether it was still there at the second look */
	size_t version_room;
	struct route_row *routes;
	size_t route_room;
	struct reference *references;
	size_t reference_count, reference_room;
	size_t next; /* where to go on in the references; before that, in the versions */
	struct found *contents;
	size_t content_count, content_room;
	int error;
};

/* Whether a mount holds the state now, or did at an earlier look. */
static bool is_beside_mount(struct fsck *fsck)
{
	int lock;

	if (fsck->beside_mount)
		return true;
	lock = openat(store_directory(fsck->store), "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (lock < 0)
		return false;
	fsck->beside_mount = flock(lock, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
	close(lock);
	return fsck->beside_mount;
}

static void tell(struct fsck *fsck, const struct reason *reason)
{
	fsck->totals.findings++;
	fsck->watcher->finding(fsck->watcher->context, reason);
}

/* Room for one more element; sets fsck->error without memory. */
static bool make_room(struct fsck *fsck, void **array, size_t count, size_t *room, size_t size)
{
	size_t wanted = *room ? *room * 2 : 64;
	void *larger;

	if (count < *room)
		return true;
	larger = realloc(*array, wanted * size);
	if (!larger) {
		fsck->error = -ENOMEM;
		return false;
	}
	*array = larger;
	*room = wanted;
	return true;
}

/* ---- rows ---- */

static int collect_version(void *context, const char *type, const struct digest *version,
			   const struct version_row *row, const struct reason *why)
{
	struct fsck *fsck = context;
	void *array = fsck->versions;
	struct reason reason = {0};
	char hex[DIGEST_HEX + 1];

	if (!row) {
		fsck->is_blind = true;
		reason_set(&reason, EBADMSG, why->code,
			   "version %.130s/%s: %.300s; deploy the same archive again", type,
			   digest_hex(version, hex), why->message);
		tell(fsck, &reason);
		return 0;
	}
	if (!make_room(fsck, &array, fsck->totals.versions, &fsck->version_room, sizeof(*row)))
		return fsck->error;
	fsck->versions = array;
	fsck->versions[fsck->totals.versions++] = *row;
	return 0;
}

static int collect_route(void *context, const char *type, const struct route_row *row,
			 const struct reason *why)
{
	struct fsck *fsck = context;
	void *array = fsck->routes;
	struct reason reason = {0};

	if (!row) {
		reason_set(&reason, EBADMSG, why->code,
			   "route %.130s: %.300s; point it again: ln -sfn ../packages/TYPE/VERSION "
			   "routes/TYPE",
			   type, why->message);
		tell(fsck, &reason);
		return 0;
	}
	if (!make_room(fsck, &array, fsck->totals.routes, &fsck->route_room, sizeof(*row)))
		return fsck->error;
	fsck->routes = array;
	fsck->routes[fsck->totals.routes++] = *row;
	return 0;
}

static int count_receipt(void *context, const char *box, const char *name, const char *text,
			 size_t length, const struct reason *why)
{
	struct fsck *fsck = context;
	struct reason reason = {0};

	(void)length;
	if (text) {
		fsck->totals.receipts++;
		return 0;
	}
	reason_set(&reason, EBADMSG, why->code, "receipt %.40s/%.255s: %.250s", box ? box : "",
		   name ? name : "", why->message);
	tell(fsck, &reason);
	return 0;
}

/* A second look, at one version or one route. */
struct second_look {
	const struct version_row *version;
	const struct route_row *route;
	bool found;
};

static int look_at_version(void *context, const char *type, const struct digest *version,
			   const struct version_row *row, const struct reason *why)
{
	struct second_look *look = context;

	(void)why;
	if (row && digest_equal(version, &look->version->version) &&
	    strcmp(type, look->version->type) == 0)
		look->found = row->upload == look->version->upload;
	return 0;
}

/* Whether a finding about this version stands: beside a mount it may have been unloaded since. */
static bool stands(struct fsck *fsck, const struct version_row *row)
{
	struct second_look look = {.version = row};

	if (!is_beside_mount(fsck))
		return true;
	return rows_each_version(fsck->store, look_at_version, &look) == 0 && look.found;
}

static int look_at_route(void *context, const char *type, const struct route_row *row,
			 const struct reason *why)
{
	struct second_look *look = context;

	(void)why;
	if (row && strcmp(type, look->route->type) == 0)
		look->found = !row->removed && row->changed == look->route->changed;
	return 0;
}

static bool route_stands(struct fsck *fsck, const struct route_row *route)
{
	struct second_look look = {.route = route};

	if (!is_beside_mount(fsck))
		return true;
	return rows_each_route(fsck->store, look_at_route, &look) == 0 && look.found;
}

static bool has_version(const struct fsck *fsck, const struct route_row *route)
{
	for (size_t i = 0; i < fsck->totals.versions; i++) {
		if (digest_equal(&fsck->versions[i].version, &route->version) &&
		    strcmp(fsck->versions[i].type, route->type) == 0)
			return true;
	}
	return false;
}

static void check_routes(struct fsck *fsck)
{
	struct reason reason = {0};
	char hex[DIGEST_HEX + 1];

	for (size_t i = 0; i < fsck->totals.routes; i++) {
		const struct route_row *route = &fsck->routes[i];

		if (route->removed || has_version(fsck, route) || !route_stands(fsck, route))
			continue;
		reason_set(&reason, EBADMSG, "route_dangling",
			   "route %s points to %s, which is not in the store; point it elsewhere",
			   route->type, digest_hex(&route->version, hex));
		tell(fsck, &reason);
	}
}

/* ---- versions ---- */

static void add_reference(struct fsck *fsck, const struct digest *digest, uint64_t size,
			  uint32_t version)
{
	void *array = fsck->references;

	if (!make_room(fsck, &array, fsck->reference_count, &fsck->reference_room,
		       sizeof(*fsck->references)))
		return;
	fsck->references = array;
	fsck->references[fsck->reference_count++] =
	    (struct reference){.digest = *digest, .size = size, .version = version};
}

static void reference_tree(struct fsck *fsck, const struct tree *tree, uint32_t version)
{
	for (uint32_t i = 0; i < tree_count(tree) && !fsck->error; i++) {
		const struct tree_node *node = tree_node(tree, i);

		if (node->kind == INDEX_FILE)
			add_reference(fsck, &node->digest, node->size, version);
	}
}

static void check_version(struct fsck *fsck, uint32_t number)
{
	const struct version_row *row = &fsck->versions[number];
	struct reason reason = {0};
	char hex[DIGEST_HEX + 1];
	struct manifest manifest;
	struct tree *tree;
	bool has_executable;
	size_t length;
	char *text;
	int error = reload_judge(fsck->store, row, &manifest, &has_executable, &reason);

	if (error == -ENOMEM)
		fsck->error = error;
	if (error && stands(fsck, row)) {
		struct reason named = {0};

		reason_set(&named, EBADMSG, reason.code,
			   "version %s/%s: %.350s; deploy the same archive again", row->type,
			   digest_hex(&row->version, hex), reason.message);
		tell(fsck, &named);
	}
	add_reference(fsck, &row->version, row->index_bytes, number);
	if (row->has_signature)
		add_reference(fsck, &row->signature, row->signature_bytes, number);
	if (contents_load(fsck->store, &row->version, (size_t)row->index_bytes, &text, &length,
			  NULL) == 0 &&
	    tree_new(text, length, &tree, NULL) == 0) {
		reference_tree(fsck, tree, number);
		tree_free(tree);
	} else {
		fsck->is_blind = true;
	}
}

/* ---- contents ---- */

static int by_digest(const void *left, const void *right)
{
	const struct reference *a = left, *b = right;
	int order = digest_compare(&a->digest, &b->digest);

	if (order)
		return order;
	return a->version < b->version ? -1 : a->version > b->version;
}

/* One version references a content once, however often its index names it. */
static void merge_references(struct fsck *fsck)
{
	size_t kept = 0;

	if (fsck->reference_count > 0)
		qsort(fsck->references, fsck->reference_count, sizeof(*fsck->references),
		      by_digest);
	for (size_t i = 0; i < fsck->reference_count; i++) {
		if (kept == 0 || by_digest(&fsck->references[i], &fsck->references[kept - 1]) != 0)
			fsck->references[kept++] = fsck->references[i];
	}
	fsck->reference_count = kept;
}

static void tell_content(struct fsck *fsck, const struct reference *reference, const char *code,
			 const char *what)
{
	const struct version_row *row = &fsck->versions[reference->version];
	char hex[DIGEST_HEX + 1], version[DIGEST_HEX + 1];
	struct reason reason = {0};

	if (!stands(fsck, row))
		return;
	reason_set(&reason, EBADMSG, code,
		   "version %s/%s: content %s %s; deploy the same archive again", row->type,
		   digest_hex(&row->version, version), digest_hex(&reference->digest, hex), what);
	tell(fsck, &reason);
}

/* Passes the references below `digest` (their contents are missing) and counts those equal to it.
 */
static uint64_t pass_references(struct fsck *fsck, const struct digest *digest,
				const struct reference **ret_one)
{
	uint64_t count = 0;

	for (; fsck->next < fsck->reference_count; fsck->next++) {
		const struct reference *reference = &fsck->references[fsck->next];
		int order = digest ? digest_compare(&reference->digest, digest) : -1;

		if (order > 0)
			break;
		if (order == 0) {
			*ret_one = reference;
			count++;
		} else {
			tell_content(fsck, reference, "content_missing", "is missing");
		}
	}
	return count;
}

static int collect_content(void *context, const struct digest *digest, uint64_t size,
			   uint64_t references)
{
	struct fsck *fsck = context;
	void *array = fsck->contents;

	if (!make_room(fsck, &array, fsck->content_count, &fsck->content_room,
		       sizeof(*fsck->contents)))
		return fsck->error;
	fsck->contents = array;
	fsck->contents[fsck->content_count++] = (struct found){*digest, size, references};
	return 0;
}

static void check_references(struct fsck *fsck, const struct found *found, uint64_t expected)
{
	struct reason reason = {0};
	char hex[DIGEST_HEX + 1];

	if (found->references == expected ||
	    (found->references > expected && (fsck->is_blind || is_beside_mount(fsck))))
		return;
	reason_set(&reason, EBADMSG, "references_wrong",
		   "content %s has %llu references, %llu versions name it%s",
		   digest_hex(&found->digest, hex), (unsigned long long)found->references,
		   (unsigned long long)expected,
		   found->references > expected
		       ? "; harmless, but its space is not freed (a mount that was killed "
			 "leaves this until the next mount)"
		       : "; unloading one of them would free it too early: copy what is in "
			 "archives/ into the mount of a new state");
	tell(fsck, &reason);
}

static void check_content(struct fsck *fsck, const struct found *found)
{
	const struct reference *one = NULL;
	uint64_t expected = pass_references(fsck, &found->digest, &one);
	struct reason reason = {0};

	fsck->totals.contents++;
	fsck->totals.bytes += found->size;
	check_references(fsck, found, expected);
	if (contents_verify(fsck->store, &found->digest, one ? one->size : found->size, &reason) !=
	    0) {
		if (one)
			tell_content(fsck, one, "content_damaged", "is damaged");
		else if (!is_beside_mount(fsck))
			tell(fsck, &reason);
	}
	if (fsck->watcher->progress)
		fsck->watcher->progress(fsck->watcher->context, fsck->totals.contents,
					fsck->content_count);
}

/* Beside a mount: notes which of the versions are still there now that the contents are read. */
static int note_present(void *context, const char *type, const struct digest *version,
			const struct version_row *row, const struct reason *why)
{
	struct fsck *fsck = context;
	size_t count = fsck->totals.versions;

	(void)why;
	/* Both times the rows come in the order of their keys: the next one is most likely next. */
	for (size_t tried = 0; row && tried < count; tried++) {
		size_t i = fsck->next++ % count;

		if (digest_equal(&fsck->versions[i].version, version) &&
		    strcmp(fsck->versions[i].type, type) == 0) {
			fsck->present[i] = fsck->versions[i].upload == row->upload;
			break;
		}
	}
	return 0;
}

/* Drops the references of versions that went while the contents were read. */
static int drop_gone(struct fsck *fsck)
{
	size_t kept = 0;
	int error;

	if (!is_beside_mount(fsck))
		return 0;
	fsck->present = calloc(fsck->totals.versions + 1, sizeof(*fsck->present));
	if (!fsck->present)
		return -ENOMEM;
	error = rows_each_version(fsck->store, note_present, fsck);
	fsck->next = 0;
	for (size_t i = 0; i < fsck->reference_count; i++) {
		if (fsck->present[fsck->references[i].version])
			fsck->references[kept++] = fsck->references[i];
	}
	fsck->reference_count = kept;
	return error;
}

/* Pending rows beside a mount are its uploads and releases. */
static void tell_store(void *context, const struct reason *reason)
{
	struct fsck *fsck = context;

	if (strcmp(reason->code, "pending_left") != 0 || !is_beside_mount(fsck))
		tell(fsck, reason);
}

static int check_rows(struct fsck *fsck)
{
	/* Routes first: a version that is deployed meanwhile is then in the list. */
	int error = rows_each_route(fsck->store, collect_route, fsck);

	if (!error)
		error = rows_each_version(fsck->store, collect_version, fsck);
	if (!error)
		error = rows_each_receipt(fsck->store, count_receipt, fsck);
	if (error)
		return error;
	check_routes(fsck);
	for (uint32_t i = 0; i < fsck->totals.versions && !fsck->error; i++)
		check_version(fsck, i);
	return fsck->error;
}

static int check_all(struct fsck *fsck)
{
	int error = check_rows(fsck);

	if (!error)
		error = contents_each(fsck->store, collect_content, fsck);
	if (!error)
		error = drop_gone(fsck);
	if (error)
		return error;
	merge_references(fsck);
	for (size_t i = 0; i < fsck->content_count; i++)
		check_content(fsck, &fsck->contents[i]);
	pass_references(fsck, NULL, NULL);
	return contents_check(fsck->store, tell_store, fsck);
}

int fsck_state(const char *path, const struct fsck_watcher *watcher, struct fsck_totals *ret_totals,
	       struct reason *reason)
{
	struct fsck fsck = {.watcher = watcher};
	int error = store_open(path, STORE_READ, &fsck.store, reason);

	if (error)
		return error;
	is_beside_mount(&fsck);
	error = check_all(&fsck);
	if (error)
		reason_set(reason, -error, "store_failed", "%s can't be read: %s", path,
			   strerror(-error));
	store_close(fsck.store);
	free(fsck.versions);
	free(fsck.present);
	free(fsck.contents);
	free(fsck.routes);
	free(fsck.references);
	*ret_totals = fsck.totals;
	return error;
}
