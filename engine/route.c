/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Re-pointing and removing routes. A route is one row; it is durable before the catalog shows it, and
 * the catalog shows it whole: a reader sees the old or the new target.
 */
#include "engine/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/log.h"
#include "engine/permit.h"
#include "engine/quarantine.h"

#define PREFIX_MIN 8

/* The last two parts of a path: "../packages/order/9f86..." gives "order" and "9f86...". */
struct target {
	char type[TYPE_MAX + 2]; /* "" when there is no directory part, or one that is no type's */
	char version[DIGEST_HEX + 2];
};

static size_t trim_slashes(const char *text, size_t length)
{
	while (length > 0 && text[length - 1] == '/')
		length--;
	return length;
}

static size_t begin_of_part(const char *text, size_t end)
{
	while (end > 0 && text[end - 1] != '/')
		end--;
	return end;
}

static bool is_dots(const char *text, size_t length)
{
	return (length == 1 && text[0] == '.') ||
	       (length == 2 && text[0] == '.' && text[1] == '.');
}

/* Returns false when the last part can't be a version or a prefix of one. */
static bool split_target(const char *text, struct target *ret_target)
{
	size_t end = trim_slashes(text, strlen(text));
	size_t begin = begin_of_part(text, end);
	size_t length = end - begin;

	*ret_target = (struct target){0};
	if (length < PREFIX_MIN || length > DIGEST_HEX)
		return false;
	memcpy(ret_target->version, text + begin, length);
	if (strspn(ret_target->version, "0123456789abcdef") != length)
		return false;
	end = trim_slashes(text, begin);
	begin = begin_of_part(text, end);
	length = end - begin;
	if (length > 0 && length <= TYPE_MAX && !is_dots(text + begin, length))
		memcpy(ret_target->type, text + begin, length);
	return true;
}

static int explain_absent(struct engine *engine, const char *type, const struct target *target,
			  struct reason *reason)
{
	struct digest digest;

	if (digest_parse(target->version, strlen(target->version), &digest) == 0 &&
	    catalog_has_elsewhere(engine->catalog, type, &digest))
		return reason_set(reason, EINVAL, "route_invalid",
				  "%s is a version of another type than %s", target->version, type);
	if (quarantine_has(engine, type, target->version))
		return reason_set(reason, ENOENT, "version_absent",
				  "%s of %s is in quarantine: read quarantine/%s/%s", target->version,
				  type, type, target->version);
	return reason_set(reason, ENOENT, "version_absent",
			  "no version %s of %s is loaded; see packages/%s", target->version, type,
			  type);
}

/* The version that a link's target means, with a reference. */
static int resolve(struct engine *engine, const char *type, const char *text,
		   struct version **ret_version, struct reason *reason)
{
	struct target target;
	int error;

	if (!split_target(text, &target))
		return reason_set(reason, EINVAL, "route_invalid",
				  "\"%.200s\" does not end in a version (64 hex digits, or the first "
				  "%d or more of one)",
				  text, PREFIX_MIN);
	if (target.type[0] && strcmp(target.type, type) != 0 && strcmp(target.type, "packages") != 0 &&
	    catalog_has_type(engine->catalog, target.type))
		return reason_set(reason, EINVAL, "route_invalid",
				  "\"%.200s\" is a version of %s, not of %s", text, target.type, type);
	*ret_version = catalog_find_prefix(engine->catalog, type, target.version, &error);
	if (*ret_version)
		return 0;
	if (error == -EINVAL)
		return reason_set(reason, EINVAL, "route_invalid",
				  "several versions of %s begin with %s: give more digits", type,
				  target.version);
	return explain_absent(engine, type, &target, reason);
}

/* Row, audit line and catalog in their order. `version` is NULL for a removal. */
static int write_route(struct engine *engine, const struct caller *caller, const char *type,
		       struct version *version, struct reason *reason)
{
	struct row_change changes[2] = {{.kind = ROW_PUT_ROUTE}, {.kind = ROW_APPEND_AUDIT}};
	int64_t at_ns = clock_wall_ns();
	struct digest old;
	char hex[DIGEST_HEX + 1];
	bool had = catalog_route(engine->catalog, type, &old) == 0;
	size_t length;
	char *line;
	int error;

	if (!version && !had)
		return -ENOENT;
	line = audit_line(version ? "route" : "route_removed", at_ns, caller,
			  json_pack("{s:s, s:s*, s:s*}", "type", type, "version",
				    version ? version->hex : NULL, "was",
				    had ? digest_hex(&old, hex) : NULL),
			  &length);
	if (!line)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	memcpy(changes[0].route.type, type, strlen(type) + 1);
	changes[0].route.removed = version == NULL;
	changes[0].route.version = version ? version->digest : old;
	changes[0].route.at_ns = at_ns;
	changes[1].text = line;
	changes[1].text_length = length;
	error = rows_commit(engine->store, changes, 2, reason);
	free(line);
	if (error)
		return error;
	if (version)
		error = catalog_set_route(engine->catalog, type, &version->digest, at_ns);
	else
		catalog_remove_route(engine->catalog, type, at_ns);
	quarantine_remove(engine, type, "route");
	return error;
}

int route_set(struct engine *engine, const struct caller *caller, const char *type,
	      const char *target, struct reason *reason)
{
	struct version *version = NULL;
	int error = permit_deploy(engine, caller, "re-point the route of", type, reason);

	if (error)
		return error;
	catalog_lock_type(engine->catalog, type);
	error = resolve(engine, type, target, &version, reason);
	if (!error)
		error = write_route(engine, caller, type, version, reason);
	catalog_unlock_type(engine->catalog, type);
	version_put(version);
	if (!error)
		log_audited(engine);
	else if (reason)
		log_note(engine, "route_refused", false,
			 json_pack("{s:o, s:s, s:o, s:I}", "type", audit_string(type), "code",
				   reason->code, "message", audit_string(reason->message), "uid",
				   (json_int_t)caller->uid));
	return error;
}

int route_remove(struct engine *engine, const struct caller *caller, const char *type,
		 struct reason *reason)
{
	int error = permit_deploy(engine, caller, "remove the route of", type, reason);

	if (error)
		return error;
	catalog_lock_type(engine->catalog, type);
	error = write_route(engine, caller, type, NULL, reason);
	catalog_unlock_type(engine->catalog, type);
	if (!error)
		log_audited(engine);
	return error;
}
