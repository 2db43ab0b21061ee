/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <math.h>

json_t *cli_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

int cli_json_print(const cli_common *common, json_t *object, int indented)
{
    int code = CLI_DONE;
    if (!object ||
        json_dumpf(object, stdout, (indented ? JSON_INDENT(2) : 0) | JSON_REAL_PRECISION(9)))
        code = cli_fault(common, "standard output", "the JSON result could not be written");
    else
        putchar('\n');
    json_decref(object);
    return code;
}

void cli_print_real(FILE *to, int width, int decimals, double value)
{
    if (isnan(value))
        fprintf(to, "%*s", width, "-");
    else if (isinf(value))
        fprintf(to, "%*s", width, value > 0 ? "inf" : "-inf");
    else
        fprintf(to, "%*.*f", width, decimals, value);
}

json_t *cli_json_sizes(const size_t *shape, uint32_t ndim)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < ndim; i++)
        json_array_append_new(array, json_integer((json_int_t)shape[i]));
    return array;
}
