/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks a state without mounting it: the reload's own judgement of every row, then what a mount
 * never looks at: every content's bytes and every reference count. Reads only.
 *
 * Beside a mount the tables change between one look and the next, and nothing that is merely under
 * way may be told as damage. What holds then is this: the references of a version are taken before
 * its row is there and given back after it is gone. So of a version that was there both before and
 * after the contents were looked at, all references must have been there. The values of runs are
 * the same: their references are taken before their rows are there, and given back after those are
 * gone. More references than that belong to an upload or a release, and a version or a run that is
 * gone by now is nobody's loss. Runs, events and values are held against each other in one
 * snapshot: it has no meanwhile.
 */
#include "engine/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "engine/reload.h"
#include "engine/tree.h"
#include "store/contents.h"
#include "store/journal.h"
#include "store/rows.h"

/* How often each content should be referenced: sorted by digest once all holders are read. */
struct reference {
	struct digest digest;
	uint64_t size;
	uint32_t holder; /* who names it: a version, or, behind those, a value */
};

/* A value of a run whose bytes are a content. */
struct held_value {
	uint64_t run, sequence, upload;
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
	bool is_blind; /* some holder's contents are not known: counts may seem too high */
	struct version_row *versions;
	size_t version_room;
	struct held_value *values; /* in the order of their keys */
	size_t value_count, value_room;
	bool *present; /* of each holder: whether it was still there at the second look */
	struct route_row *routes;
	size_t route_room;
	struct reference *references;
	size_t reference_count, reference_room;
	size_t next; /* where to go on in the references; before that, in the holders */
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
			  uint32_t holder)
{
	void *array = fsck->references;

	if (!make_room(fsck, &array, fsck->reference_count, &fsck->reference_room,
		       sizeof(*fsck->references)))
		return;
	fsck->references = array;
	fsck->references[fsck->reference_count++] =
	    (struct reference){.digest = *digest, .size = size, .holder = holder};
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

/* ---- values ---- */

/* After the versions: the values' numbers as holders follow theirs. journal_check names bad rows.
 */
static int collect_value(void *context, uint64_t run, uint64_t sequence,
			 const struct value_row *row)
{
	struct fsck *fsck = context;
	void *array = fsck->values;

	if (!row)
		fsck->is_blind = true;
	if (!row || !row->upload)
		return 0;
	if (!make_room(fsck, &array, fsck->value_count, &fsck->value_room, sizeof(*fsck->values)))
		return fsck->error;
	fsck->values = array;
	add_reference(fsck, &row->digest, row->size,
		      (uint32_t)(fsck->totals.versions + fsck->value_count));
	fsck->values[fsck->value_count++] = (struct held_value){run, sequence, row->upload};
	return fsck->error;
}

static bool precedes(const struct held_value *value, uint64_t run, uint64_t sequence)
{
	return value->run != run ? value->run < run : value->sequence < sequence;
}

static bool is_value(const struct held_value *value, const struct value_row *row)
{
	return value->run == row->run && value->sequence == row->sequence &&
	       value->upload == row->upload;
}

/* Beside a mount the value's run may have been removed since. */
static bool value_stands(struct fsck *fsck, const struct held_value *value)
{
	struct value_row row;

	if (!is_beside_mount(fsck))
		return true;
	return journal_value(fsck->store, value->run, value->sequence, &row, NULL) == 0 &&
	       is_value(value, &row);
}

/* Findings are few: each looks its run's ID up by itself. */
struct id_search {
	uint64_t number;
	char id[RUN_ID_MAX + 1];
};

static int match_run(void *context, const char *id, uint64_t number, const struct reason *why)
{
	struct id_search *search = context;

	if (why || number != search->number)
		return 0;
	snprintf(search->id, sizeof(search->id), "%s", id);
	return 1;
}

static void tell_value(struct fsck *fsck, const struct reference *reference, const char *code,
		       const char *what)
{
	const struct held_value *value = &fsck->values[reference->holder - fsck->totals.versions];
	struct id_search search = {.number = value->run};
	struct reason reason = {0};
	char hex[DIGEST_HEX + 1];

	if (!value_stands(fsck, value))
		return;
	journal_each_run(fsck->store, match_run, &search);
	reason_set(&reason, EBADMSG, code,
		   "run %s, event %llu: content %s %s; restore the state from a backup; without "
		   "one, remove the run and start it again under another ID",
		   search.id[0] ? search.id : "?", (unsigned long long)value->sequence,
		   digest_hex(&reference->digest, hex), what);
	tell(fsck, &reason);
}

/* ---- contents ---- */

static int by_digest(const void *left, const void *right)
{
	const struct reference *a = left, *b = right;
	int order = digest_compare(&a->digest, &b->digest);

	if (order)
		return order;
	return a->holder < b->holder ? -1 : a->holder > b->holder;
}

/* One holder references a content once, however often the index of a version names it. */
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

static void tell_file(struct fsck *fsck, const struct reference *reference, const char *code,
		      const char *what)
{
	const struct version_row *row = &fsck->versions[reference->holder];
	char hex[DIGEST_HEX + 1], version[DIGEST_HEX + 1];
	struct reason reason = {0};

	if (!stands(fsck, row))
		return;
	reason_set(&reason, EBADMSG, code,
		   "version %s/%s: content %s %s; deploy the same archive again", row->type,
		   digest_hex(&row->version, version), digest_hex(&reference->digest, hex), what);
	tell(fsck, &reason);
}

static void tell_content(struct fsck *fsck, const struct reference *reference, const char *code,
			 const char *what)
{
	if (reference->holder < fsck->totals.versions)
		tell_file(fsck, reference, code, what);
	else
		tell_value(fsck, reference, code, what);
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
		   "content %s has %llu references, %llu versions and values of runs name it%s",
		   digest_hex(&found->digest, hex), (unsigned long long)found->references,
		   (unsigned long long)expected,
		   found->references > expected
		       ? "; harmless, but its space is not freed (a mount that was killed "
			 "leaves this until the next mount)"
		       : "; removing one of them would free it too early: copy what is in "
			 "archives/ into the mount of a new state");
	tell(fsck, &reason);
}

/*
 * Of the versions that share a damaged content one is told: deploying it repairs all. Of the runs
 * each is, because each has lost something. Versions come first.
 */
static void tell_damaged(struct fsck *fsck, const struct reference *last, uint64_t count)
{
	for (const struct reference *one = last - count + 1; one <= last; one++) {
		bool is_version = one->holder < fsck->totals.versions;

		if (!is_version || one == last || one[1].holder >= fsck->totals.versions)
			tell_content(fsck, one, "content_damaged", "is damaged");
	}
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
			tell_damaged(fsck, one, expected);
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

/* The same for the values; both times in the order of their keys. */
static int note_value_present(void *context, uint64_t run, uint64_t sequence,
			      const struct value_row *row)
{
	struct fsck *fsck = context;

	while (fsck->next < fsck->value_count && precedes(&fsck->values[fsck->next], run, sequence))
		fsck->next++;
	if (row && fsck->next < fsck->value_count && is_value(&fsck->values[fsck->next], row))
		fsck->present[fsck->totals.versions + fsck->next] = true;
	return 0;
}

/* Drops the references of versions and values that went while the contents were read. */
static int drop_gone(struct fsck *fsck)
{
	size_t kept = 0;
	int error;

	if (!is_beside_mount(fsck))
		return 0;
	fsck->present =
	    calloc(fsck->totals.versions + fsck->value_count + 1, sizeof(*fsck->present));
	if (!fsck->present)
		return -ENOMEM;
	error = rows_each_version(fsck->store, note_present, fsck);
	fsck->next = 0;
	if (!error)
		error = journal_each_value(fsck->store, note_value_present, fsck);
	fsck->next = 0;
	for (size_t i = 0; i < fsck->reference_count; i++) {
		if (fsck->present[fsck->references[i].holder])
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

static int check_journal(struct fsck *fsck)
{
	int error = journal_check(fsck->store, tell_store, fsck);

	if (!error)
		error = journal_each_value(fsck->store, collect_value, fsck);
	return error ? error : fsck->error;
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
	return fsck->error ? fsck->error : check_journal(fsck);
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
	free(fsck.values);
	free(fsck.present);
	free(fsck.contents);
	free(fsck.routes);
	free(fsck.references);
	*ret_totals = fsck.totals;
	return error;
}
