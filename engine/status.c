/* SPDX-License-Identifier: Apache-2.0 */
/* The two texts that show how the mount fares. Both cost a few statistics, whatever is in the store. */
#include "engine/status.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/quarantine.h"
#include "engine/runs.h"
#include "engine/supervisor.h"
#include "engine/verify.h"
#include "store/contents.h"

#define ROUTED_MAX 1000

struct figures {
	struct catalog_counts counts;
	struct store_space space;
	uint64_t runs[RUN_STATUSES], running;
	uint64_t contents, changes, commits, quarantined, verified, deploys, failed;
	bool is_ready;
};

static int gather(struct engine *engine, struct figures *ret_figures)
{
	struct figures *figures = ret_figures;
	int error;

	memset(figures, 0, sizeof(*figures));
	catalog_count(engine->catalog, &figures->counts);
	error = store_space(engine->store, &figures->space);
	if (!error)
		error = contents_count(engine->store, &figures->contents);
	rows_statistics(engine->store, &figures->changes, &figures->commits);
	figures->quarantined = quarantine_count(engine);
	figures->verified = scrub_verified(engine);
	figures->deploys = atomic_load(&engine->deploys);
	figures->failed = atomic_load(&engine->deploys_failed);
	figures->is_ready = atomic_load(&engine->is_ready);
	runs_count(engine, figures->runs);
	figures->running = supervisor_running(engine);
	return error;
}

/* Where each type is routed, with its label; at most ROUTED_MAX types, so that it stays readable. */
static json_t *routed_types(struct engine *engine)
{
	json_t *routed = json_object();
	struct name_list list;

	if (catalog_list_routes(engine->catalog, &list) != 0)
		return routed;
	for (size_t i = 0; i < list.count && i < ROUTED_MAX; i++) {
		struct digest digest;
		struct version *version;

		if (catalog_route(engine->catalog, list.names[i], &digest) != 0)
			continue;
		version = catalog_find(engine->catalog, list.names[i], &digest);
		if (version)
			json_object_set_new(
				routed, list.names[i],
				json_pack("{s:s, s:s*, s:b}", "version", version->hex, "label",
					  version->manifest.label[0] ? version->manifest.label
								     : NULL,
					  "operator", (int)version->is_operator));
		version_put(version);
	}
	free(list.names);
	return routed;
}

/* The fallbacks of the reload that still stand: a later re-route ends one. */
static json_t *standing_fallbacks(struct engine *engine)
{
	json_t *standing = json_array(), *fallback;
	size_t i;

	json_array_foreach(engine->fallbacks, i, fallback) {
		const char *type = json_string_value(json_object_get(fallback, "type"));
		const char *routed = json_string_value(json_object_get(fallback, "routed"));
		char hex[DIGEST_HEX + 1] = "";
		struct digest digest;

		if (type && catalog_route(engine->catalog, type, &digest) == 0)
			digest_hex(&digest, hex);
		if (strcmp(hex, routed ? routed : "") == 0)
			json_array_append_new(standing, json_deep_copy(fallback));
	}
	return standing;
}

static json_t *runs_by_status(const struct figures *figures)
{
	json_t *runs = json_object();

	for (int status = 0; status < RUN_STATUSES; status++)
		json_object_set_new(runs, run_status_name((enum run_status)status),
				    json_integer((json_int_t)figures->runs[status]));
	return runs;
}

int status_json(struct engine *engine, char **ret_text, size_t *ret_length)
{
	struct figures figures;
	char mounted[CLOCK_TEXT], *text;
	int error = gather(engine, &figures);
	json_t *status;

	if (error)
		return error;
	status = json_pack(
		"{s:b, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I}, "
		"s:{s:I, s:I}, s:o, s:I, s:o, s:o}",
		"ready", (int)figures.is_ready, "state",
		audit_string(engine->options.state), "mounted",
		clock_format(engine->mounted_ns, mounted), "pid", (json_int_t)getpid(), "types",
		(json_int_t)figures.counts.types, "versions", (json_int_t)figures.counts.versions,
		"routes", (json_int_t)figures.counts.routes, "quarantined",
		(json_int_t)figures.quarantined, "deploys", (json_int_t)figures.deploys,
		"deploys_failed", (json_int_t)figures.failed, "files_scrubbed",
		(json_int_t)figures.verified, "store", "contents", (json_int_t)figures.contents,
		"used_bytes", (json_int_t)figures.space.used_bytes, "free_bytes",
		(json_int_t)figures.space.free_bytes, "total_bytes",
		(json_int_t)figures.space.total_bytes, "rows", "changes",
		(json_int_t)figures.changes, "commits", (json_int_t)figures.commits, "runs",
		runs_by_status(&figures), "attempts", (json_int_t)figures.running, "fallbacks",
		standing_fallbacks(engine), "routed", routed_types(engine));
	text = status ? json_dumps(status, JSON_COMPACT) : NULL;
	json_decref(status);
	*ret_text = audit_newline(text, ret_length);
	return *ret_text ? 0 : -ENOMEM;
}

static void add_metric(FILE *out, const char *name, const char *kind, const char *help,
		       uint64_t value)
{
	fprintf(out, "# HELP aionfs_%s %s\n# TYPE aionfs_%s %s\naionfs_%s %llu\n", name, help, name,
		kind, name, (unsigned long long)value);
}

/* One family with a label, as Prometheus wants states of one kind of thing. */
static void add_runs(FILE *out, const struct figures *figures)
{
	fputs("# HELP aionfs_runs runs by status\n# TYPE aionfs_runs gauge\n", out);
	for (int status = 0; status < RUN_STATUSES; status++)
		fprintf(out, "aionfs_runs{status=\"%s\"} %llu\n",
			run_status_name((enum run_status)status),
			(unsigned long long)figures->runs[status]);
}

int status_metrics(struct engine *engine, char **ret_text, size_t *ret_length)
{
	struct figures figures;
	int error = gather(engine, &figures);
	FILE *out;

	if (error)
		return error;
	*ret_text = NULL;
	out = open_memstream(ret_text, ret_length);
	if (!out)
		return -ENOMEM;
	add_metric(out, "ready", "gauge", "1 when the mount serves requests", figures.is_ready);
	add_metric(out, "types", "gauge", "types with a loaded version", figures.counts.types);
	add_metric(out, "versions", "gauge", "loaded versions", figures.counts.versions);
	add_metric(out, "routes", "gauge", "types with a route", figures.counts.routes);
	add_metric(out, "quarantined", "gauge", "entries in quarantine/", figures.quarantined);
	add_metric(out, "deploys_total", "counter", "deploys and stages of this mount",
		   figures.deploys);
	add_metric(out, "deploys_failed_total", "counter", "refused or failed ones of this mount",
		   figures.failed);
	add_metric(out, "files_scrubbed_total", "counter", "files looked at by the scrub",
		   figures.verified);
	add_metric(out, "store_contents", "gauge", "distinct contents", figures.contents);
	add_metric(out, "store_used_bytes", "gauge", "pages in use", figures.space.used_bytes);
	add_metric(out, "store_free_bytes", "gauge", "bytes that deploys may still fill",
		   figures.space.free_bytes);
	add_metric(out, "rows_changes_total", "counter", "changes handed to the rows writer",
		   figures.changes);
	add_metric(out, "rows_commits_total", "counter", "durable transactions that held them",
		   figures.commits);
	add_runs(out, &figures);
	add_metric(out, "attempts_running", "gauge", "processes of runs", figures.running);
	if (fclose(out) != 0) {
		free(*ret_text);
		return -ENOMEM;
	}
	return 0;
}
