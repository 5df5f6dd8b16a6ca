/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a deploy, from an archive in a spool to a routed version:
 *
 *     prepare   the decoder inflates, admit judges, the upload stores and holds the contents
 *     commit    one transaction in rows: version, route, receipt, audit line; then the catalog
 *
 * Invariant: nobody sees a version before its row is durable, and after a failure at any line the
 * store is as it was (a crash between two lines is settled by the next mount, store/upload.h).
 * At most DECODING_MAX archives are decoded at once; a prepared package needs little memory.
 */
#include "engine/deploy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/admission.h"
#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/log.h"
#include "engine/pin.h"
#include "engine/quarantine.h"
#include "engine/receipt.h"
#include "engine/verify.h"

#define DECODING_MAX 2

struct prepared {
	struct engine *engine;
	struct store *store;
	struct upload *upload;
	struct admitted admitted;
	struct digest signature;
	uint64_t new_bytes;
	int64_t took_ns;
};

/* `decoding` counts the archives being decoded, in all mounts of the process. */
static pthread_mutex_t decoding_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t decoding_changed = PTHREAD_COND_INITIALIZER;
static unsigned decoding;

static int begin_decoding(const atomic_bool *cancel)
{
	struct timespec until;
	int error = 0;

	pthread_mutex_lock(&decoding_lock);
	while (decoding >= DECODING_MAX && !error) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&decoding_changed, &decoding_lock, &until);
		if (cancel && atomic_load(cancel))
			error = -EINTR;
	}
	if (!error)
		decoding++;
	pthread_mutex_unlock(&decoding_lock);
	return error;
}

static void end_decoding(void)
{
	pthread_mutex_lock(&decoding_lock);
	decoding--;
	pthread_cond_signal(&decoding_changed);
	pthread_mutex_unlock(&decoding_lock);
}

static int fill(struct prepared *prepared, int spool, uint64_t spool_bytes,
		const atomic_bool *cancel, struct reason *reason)
{
	struct admission admission = {.spool = spool, .spool_bytes = spool_bytes, .cancel = cancel};
	int error = upload_open(prepared->store, &prepared->upload, reason);

	if (error)
		return error;
	admission.upload = prepared->upload;
	admission_limits(&prepared->engine->options.limits, &admission.limits);
	error = admission_run(&admission, &prepared->admitted, &prepared->signature, reason);
	if (!error && cancel && atomic_load(cancel))
		error = reason_set(reason, EINTR, "cancelled",
				   "the copy was interrupted; nothing is stored");
	if (!error)
		error = upload_seal(prepared->upload, prepared->admitted.manifest.type,
				    &prepared->admitted.version, reason);
	if (!error)
		prepared->new_bytes = upload_new_bytes(prepared->upload);
	return error;
}

int deploy_prepare_in(struct engine *engine, struct store *store, int spool, uint64_t spool_bytes,
		      const atomic_bool *cancel, struct prepared **ret_prepared,
		      struct reason *reason)
{
	int64_t begun_ns = clock_monotonic_ns();
	struct prepared *prepared = calloc(1, sizeof(*prepared));
	int error;

	if (!prepared)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	prepared->engine = engine;
	prepared->store = store;
	error = begin_decoding(cancel);
	if (!error) {
		error = fill(prepared, spool, spool_bytes, cancel, reason);
		end_decoding();
	} else {
		reason_set(reason, EINTR, "cancelled",
			   "the copy was interrupted; nothing is stored");
	}
	prepared->took_ns = clock_monotonic_ns() - begun_ns;
	if (error) {
		deploy_discard(prepared);
		return error;
	}
	*ret_prepared = prepared;
	return 0;
}

int deploy_prepare(struct engine *engine, int spool, uint64_t spool_bytes,
		   const atomic_bool *cancel, struct prepared **ret_prepared,
		   struct reason *reason)
{
	return deploy_prepare_in(engine, engine->store, spool, spool_bytes, cancel, ret_prepared,
				 reason);
}

void deploy_discard(struct prepared *prepared)
{
	if (!prepared)
		return;
	upload_abort(prepared->upload);
	admitted_free(&prepared->admitted);
	free(prepared);
}

/* What one commit is about, gathered so that its steps can share it. */
struct commit {
	struct prepared *prepared;
	enum box box;
	const char *name;
	const struct caller *caller;
	struct version *existing; /* loaded already, with a reference; or NULL */
	bool is_persisted;        /* `existing` has a row: it is no operator package */
	bool route_changed;
	int64_t at_ns, begun_ns;
	char hex[DIGEST_HEX + 1];
};

static struct version_row version_row_of(const struct commit *commit)
{
	const struct admitted *admitted = &commit->prepared->admitted;
	struct version_row row = {
		.version = admitted->version,
		.upload = upload_number(commit->prepared->upload),
		.deployed = commit->box == BOX_DEPLOY ? DEPLOYED_NOW : 0,
		.first_ns = commit->at_ns,
		.last_ns = commit->at_ns,
		.entries = admitted->entries,
		.bytes = admitted->bytes,
		.index_bytes = admitted->index_length,
		.uid = commit->caller->uid,
		.has_signature = admitted->signature != NULL,
		.signature = commit->prepared->signature,
		.signature_bytes = admitted->signature_length,
	};

	if (commit->is_persisted) {
		/* Its references are held already: the signature, too, stays the first deploy's. */
		row.has_signature = commit->existing->has_signature;
		row.signature = commit->existing->signature;
		row.signature_bytes = commit->existing->signature_bytes;
	}
	/* A later stage does not take away that it came in through deploy/ once. */
	if (commit->is_persisted && commit->box == BOX_STAGE)
		row.deployed = atomic_load(&commit->existing->deployed);
	memcpy(row.type, admitted->manifest.type, sizeof(row.type));
	return row;
}

static char *receipt_text(const struct commit *commit, size_t *ret_length)
{
	const struct admitted *admitted = &commit->prepared->admitted;
	const struct manifest *manifest = &admitted->manifest;
	int64_t took_ns =
		commit->prepared->took_ns + (clock_monotonic_ns() - commit->begun_ns);
	char at[CLOCK_TEXT], *text;
	json_t *receipt = json_pack(
		"{s:s, s:s, s:s, s:s?, s:b, s:b, s:I, s:I, s:I, s:I, s:s, s:I}", "status",
		commit->box == BOX_DEPLOY ? "deployed" : "staged", "type", manifest->type,
		"version", commit->hex, "label", manifest->label[0] ? manifest->label : NULL,
		"freshly_loaded", commit->existing == NULL, "route_changed",
		(int)commit->route_changed, "entries", (json_int_t)admitted->entries, "bytes",
		(json_int_t)admitted->bytes, "new_bytes", (json_int_t)commit->prepared->new_bytes,
		"took_ms", (json_int_t)(took_ns / 1000000), "at",
		clock_format(commit->at_ns, at), "uid", (json_int_t)commit->caller->uid);

	text = receipt ? json_dumps(receipt, JSON_COMPACT) : NULL;
	json_decref(receipt);
	return audit_newline(text, ret_length);
}

static char *audit_text(const struct commit *commit, size_t *ret_length)
{
	const struct manifest *manifest = &commit->prepared->admitted.manifest;

	return audit_line(box_name(commit->box), commit->at_ns, commit->caller,
			  json_pack("{s:s, s:s, s:s?, s:o, s:b, s:b}", "type", manifest->type,
				    "version", commit->hex, "label",
				    manifest->label[0] ? manifest->label : NULL, "name",
				    audit_string(commit->name), "freshly_loaded",
				    commit->existing == NULL, "route_changed",
				    (int)commit->route_changed),
			  ret_length);
}

/* The one transaction. On success the receipt is filed and `changes[0]` tells what the store did. */
static int write_rows(const struct commit *commit, struct row_change changes[4],
		      struct reason *reason)
{
	struct engine *engine = commit->prepared->engine;
	size_t receipt_length = 0, audit_length = 0, count = 0;
	char *receipt = receipt_text(commit, &receipt_length);
	char *audit = audit_text(commit, &audit_length);
	int error;

	changes[count++] = (struct row_change){.kind = ROW_PUT_VERSION,
					       .version = version_row_of(commit)};
	changes[count++] = (struct row_change){.kind = ROW_PUT_RECEIPT,
					       .box = box_name(commit->box),
					       .name = commit->name,
					       .text = receipt,
					       .text_length = receipt_length};
	changes[count++] = (struct row_change){
		.kind = ROW_APPEND_AUDIT, .text = audit, .text_length = audit_length};
	if (commit->box == BOX_DEPLOY) {
		struct route_row route = {.version = commit->prepared->admitted.version,
					  .at_ns = commit->at_ns};

		memcpy(route.type, commit->prepared->admitted.manifest.type, sizeof(route.type));
		changes[count++] = (struct row_change){.kind = ROW_PUT_ROUTE, .route = route};
	}
	if (!receipt || !audit)
		error = reason_set(reason, ENOMEM, "store_failed", "no memory left");
	else
		error = rows_commit(engine->store, changes, count, reason);
	if (!error)
		receipt_file(engine, commit->box, commit->name, receipt, receipt_length,
			     commit->at_ns, commit->caller->uid, true);
	free(receipt);
	free(audit);
	return error;
}

struct version *deploy_version(const struct prepared *prepared, const struct version_row *row)
{
	struct version *version = version_new();

	if (!version)
		return NULL;
	memcpy(version->type, row->type, sizeof(version->type));
	version->digest = row->version;
	digest_hex(&row->version, version->hex);
	version->store = prepared->store;
	version->manifest = prepared->admitted.manifest;
	version->has_executable = prepared->admitted.has_executable;
	version_from_row(version, row);
	return version;
}

/* The rows are durable: whatever happens here, the deploy is done. */
static void publish(struct commit *commit, struct version *fresh, const struct version_row *row)
{
	struct engine *engine = commit->prepared->engine;
	struct version *version = commit->existing;

	if (!version && fresh && catalog_add(engine->catalog, fresh) == 0)
		version = fresh;
	else
		version_put(fresh);
	if (!version)
		return; /* no memory for the table: the next mount loads it */
	atomic_store(&version->last_ns, commit->at_ns);
	atomic_store(&version->changed, row->changed);
	if (commit->box == BOX_DEPLOY)
		atomic_store(&version->deployed, row->deployed);
	if (atomic_exchange(&version->is_damaged, false))
		scrub_recheck(engine);
	quarantine_remove(engine, version->type, version->hex);
	if (commit->box == BOX_DEPLOY) {
		catalog_set_route(engine->catalog, version->type, &version->digest, commit->at_ns);
		quarantine_remove(engine, version->type, "route");
	}
}

/*
 * A new version takes the upload's references over. One that was there holds its own; when this deploy
 * repaired it, what had been lost and came back with the upload is its own as well.
 */
static void settle_upload(struct prepared *prepared, bool existed, bool is_repair)
{
	if (!existed)
		upload_adopt(prepared->upload);
	else if (is_repair)
		upload_return(prepared->upload);
	else
		upload_abort(prepared->upload);
	prepared->upload = NULL;
}

static int commit_locked(struct commit *commit, struct reason *reason)
{
	struct prepared *prepared = commit->prepared;
	struct engine *engine = prepared->engine;
	const struct admitted *admitted = &prepared->admitted;
	struct row_change changes[4];
	struct digest routed;
	struct version *fresh;
	bool is_repair;
	int error;

	commit->existing = catalog_find(engine->catalog, admitted->manifest.type,
					&admitted->version);
	commit->route_changed =
		commit->box == BOX_DEPLOY &&
		(catalog_route(engine->catalog, admitted->manifest.type, &routed) != 0 ||
		 !digest_equal(&routed, &admitted->version));
	commit->is_persisted = commit->existing && !commit->existing->is_operator;
	is_repair = !commit->is_persisted || atomic_load(&commit->existing->is_damaged);
	error = write_rows(commit, changes, reason);
	if (!error) {
		/* The store says what became of the row: an earlier deploy's first_ns stays. */
		fresh = commit->existing ? NULL : deploy_version(prepared, &changes[0].version);
		publish(commit, fresh, &changes[0].version);
		settle_upload(prepared, changes[0].existed, is_repair);
	}
	version_put(commit->existing);
	return error;
}

int deploy_commit(struct engine *engine, struct prepared *prepared, enum box box, const char *name,
		  const struct caller *caller, struct reason *reason)
{
	struct commit commit = {.prepared = prepared,
				.box = box,
				.name = name,
				.caller = caller,
				.at_ns = clock_wall_ns(),
				.begun_ns = clock_monotonic_ns()};
	const char *type = prepared->admitted.manifest.type;
	int error;

	digest_hex(&prepared->admitted.version, commit.hex);
	catalog_lock_type(engine->catalog, type);
	error = commit_locked(&commit, reason);
	catalog_unlock_type(engine->catalog, type);
	if (error)
		return error;
	log_audited(engine);
	pin_version_changed(engine, type, &prepared->admitted.version, true);
	atomic_fetch_add(&engine->deploys, 1);
	deploy_discard(prepared);
	return 0;
}

const struct admitted *deploy_admitted(const struct prepared *prepared)
{
	return &prepared->admitted;
}

struct upload *deploy_take_upload(struct prepared *prepared)
{
	struct upload *upload = prepared->upload;

	prepared->upload = NULL;
	return upload;
}

static char *failure_text(const struct caller *caller, int64_t at_ns,
			  const struct reason *reason, size_t *ret_length)
{
	char at[CLOCK_TEXT], *text;
	json_t *error = json_pack("{s:s, s:o}", "code", reason->code, "message",
				  audit_string(reason->message));
	json_t *receipt;

	if (error && reason->entry[0])
		json_object_set_new(error, "entry", audit_string(reason->entry));
	receipt = json_pack("{s:s, s:o, s:s, s:I}", "status", "failed", "error", error, "at",
			    clock_format(at_ns, at), "uid", (json_int_t)caller->uid);
	text = receipt ? json_dumps(receipt, JSON_COMPACT) : NULL;
	json_decref(receipt);
	return audit_newline(text, ret_length);
}

void deploy_failed(struct engine *engine, enum box box, const char *name,
		   const struct caller *caller, const struct reason *reason)
{
	int64_t at_ns = clock_wall_ns();
	size_t length = 0;
	char *text = failure_text(caller, at_ns, reason, &length);

	if (text)
		receipt_file(engine, box, name, text, length, at_ns, caller->uid, false);
	free(text);
	atomic_fetch_add(&engine->deploys_failed, 1);
	log_note(engine, "deploy_failed", false,
		 json_pack("{s:s, s:o, s:s, s:o, s:I}", "box", box_name(box), "name",
			   audit_string(name), "code", reason->code, "message",
			   audit_string(reason->message), "uid", (json_int_t)caller->uid));
}
