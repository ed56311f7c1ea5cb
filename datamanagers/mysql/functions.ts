/**
 * Names before a bracket, in MySQL and MariaDB, that call nothing which could write: keywords and functions of the server. What isn't
 * here may be a stored function, so the list need not be complete: a statement that calls anything else counts as one that may
 * have written.
 */
const NAMES = `
all and any as between by case distinct div else except exists from having if in insert intersect interval is join key like limit
match mod not on or order over partition regexp rlike row select set some then union using value values when where window with xor
against cross inner left natural outer right straight_join lateral recursive of full index force use ignore returning

abs acos adddate addtime aes_decrypt aes_encrypt any_value ascii asin atan atan2 avg bin bit_and bit_count bit_length bit_or bit_xor
cast ceil ceiling char char_length character_length charset coalesce coercibility collation compress concat concat_ws connection_id
conv convert convert_tz cos cot count crc32 cume_dist curdate current_date current_time current_timestamp current_user curtime
database date date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear default degrees dense_rank elt exp
export_set extract extractvalue field find_in_set first_value floor format format_bytes found_rows from_base64 from_days
from_unixtime get_format greatest group_concat grouping hex hour ifnull inet6_aton inet6_ntoa inet_aton inet_ntoa instr is_ipv4 is_ipv6
is_uuid isnull json_array json_array_append json_array_insert json_arrayagg json_compact json_contains json_contains_path json_depth
json_detailed json_equals json_exists json_extract json_insert json_keys json_length json_loose json_merge json_merge_patch
json_merge_preserve json_normalize json_object json_objectagg json_overlaps json_pretty json_query json_quote json_remove json_replace
json_schema_valid json_search json_set json_storage_size json_table json_type json_unquote json_valid json_value lag last_day
last_insert_id last_value lcase lead least length ln localtime localtimestamp locate log log10 log2 lower lpad ltrim make_set makedate
maketime max md5 median microsecond mid min minute month monthname name_const now nth_value ntile nullif oct octet_length ord
percent_rank percentile_cont percentile_disc period_add period_diff pi position pow power quarter quote radians rand random_bytes rank
regexp_instr regexp_like regexp_replace regexp_substr repeat replace reverse round row_count row_number rpad rtrim schema sec_to_time
second session_user sha sha1 sha2 sign sin sleep soundex space sqrt st_asgeojson st_asgeojson st_astext st_contains st_distance
st_distance_sphere st_geomfromgeojson st_geomfromtext st_intersects st_point st_srid st_within st_x st_y statement_digest std stddev
stddev_pop stddev_samp str_to_date strcmp subdate substr substring substring_index subtime sum sysdate system_user tan time
time_format time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_char to_days to_seconds trim truncate ucase
uncompress uncompressed_length unhex unix_timestamp updatexml upper user utc_date utc_time utc_timestamp uuid uuid_short uuid_to_bin
bin_to_uuid var_pop var_samp variance vec_distance version week weekday weekofyear weight_string year yearweek

binary bit blob bool boolean char datetime dec decimal double enum fixed float int integer longtext mediumint nchar numeric
nvarchar real signed smallint text tinyint unsigned varbinary varchar
`;

const KNOWN: ReadonlySet<string> = new Set(NAMES.split(/\s+/));

/** Whether a name before a bracket, in lower case, is a keyword or one of the server's own functions. */
export function isHarmless(name: string): boolean {
  return KNOWN.has(name);
}
