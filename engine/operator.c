/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operator packages: files named on the mount's command line. They go the way of a deploy up to its
 * last transaction, which they never reach: nothing of them is written to the state's own store.
 * Where the same version is persisted too, the persisted one is loaded already and only routed.
 */
#include "engine/operator.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/admit.h"
#include "engine/clock.h"
#include "engine/deploy.h"
#include "engine/log.h"
#include "store/upload.h"

static void directory_of(const struct engine *engine, char *path, size_t size)
{
	snprintf(path, size, "%s/operator", engine->options.state);
}

static int remove_one(const char *path, const struct stat *attributes, int kind, struct FTW *walk)
{
	(void)attributes;
	(void)kind;
	(void)walk;
	return remove(path);
}

/* Removes what a former mount left. FTW_PHYS: links in it are removed, never followed. */
static int remove_directory(const char *path)
{
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT)
		return -errno;
	return 0;
}

static int publish(struct engine *engine, struct prepared *prepared)
{
	const struct admitted *admitted = deploy_admitted(prepared);
	struct version_row row = {.version = admitted->version,
				  .deployed = 1,
				  .changed = UINT64_MAX,
				  .first_ns = engine->mounted_ns,
				  .last_ns = engine->mounted_ns,
				  .entries = admitted->entries,
				  .bytes = admitted->bytes,
				  .index_bytes = admitted->index_length,
				  .uid = engine->options.owner,
				  .has_signature = admitted->signature != NULL,
				  .signature_bytes = admitted->signature_length};
	struct version *version;
	int error = 0;

	if (admitted->signature)
		error = digest_of(admitted->signature, admitted->signature_length, &row.signature);
	if (error)
		return error;
	memcpy(row.type, admitted->manifest.type, sizeof(row.type));
	version = catalog_find(engine->catalog, row.type, &row.version);
	if (!version) {
		version = deploy_version(prepared, &row);
		if (!version)
			return -ENOMEM;
		version->is_operator = true;
		error = catalog_add(engine->catalog, version);
		if (error) {
			version_free(version);
			return error;
		}
		version_get(version);
		upload_adopt(deploy_take_upload(prepared));
	}
	error = catalog_set_route(engine->catalog, row.type, &row.version, engine->mounted_ns);
	log_note(engine, "operator_package", false,
		 json_pack("{s:s, s:s}", "type", version->type, "version", version->hex));
	version_put(version);
	return error;
}

static int load_package(struct engine *engine, const char *path, struct reason *reason)
{
	struct prepared *prepared = NULL;
	struct stat attributes;
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), error;

	if (file < 0)
		return reason_set(reason, errno, "operator_package", "package=%s: %s", path,
				  strerror(errno));
	if (fstat(file, &attributes) != 0 || !S_ISREG(attributes.st_mode)) {
		error = reason_set(reason, EINVAL, "operator_package",
				   "package=%s is not a regular file", path);
	} else {
		error = deploy_prepare_in(engine, engine->operator_store, file,
					  (uint64_t)attributes.st_size, NULL, &prepared, reason);
		if (error)
			reason_prefix(reason, path);
	}
	close(file);
	if (error)
		return error;
	error = publish(engine, prepared);
	deploy_discard(prepared);
	return error ? reason_set(reason, -error, "operator_package", "package=%s: %s", path,
				  strerror(-error))
		     : 0;
}

int operator_load(struct engine *engine, struct reason *reason)
{
	char path[4096];
	int error;

	directory_of(engine, path, sizeof(path));
	error = remove_directory(path);
	if (error)
		return reason_set(reason, -error, "operator_package",
				  "%s of a former mount can't be removed: %s", path,
				  strerror(-error));
	if (engine->options.package_count == 0)
		return 0;
	error = store_open(path, STORE_WRITE, &engine->operator_store, reason);
	for (size_t i = 0; !error && i < engine->options.package_count; i++)
		error = load_package(engine, engine->options.packages[i], reason);
	return error;
}

void operator_close(struct engine *engine)
{
	char path[4096];

	if (!engine->operator_store)
		return;
	store_close(engine->operator_store);
	engine->operator_store = NULL;
	directory_of(engine, path, sizeof(path));
	remove_directory(path);
}
