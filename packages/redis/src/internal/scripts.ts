/*
 * What must be done in one step on the server. A message is touched only while it is pending for the one who asks: when another
 * consumer has taken it over, it is that one's to settle.
 */

const own = `
local function own(id)
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  if p[1] and p[1][2] == ARGV[2] then return p[1][4] end
end
`

const bury = `
local function bury(id, deliveries, reason, length)
  local m = redis.call('XRANGE', KEYS[1], id, id)[1]
  if m then
    local fields = m[2]
    for _, v in ipairs({'@dead.id', id, '@dead.stream', KEYS[1], '@dead.group', ARGV[1],
      '@dead.deliveries', tostring(deliveries), '@dead.reason', reason}) do fields[#fields + 1] = v end
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', length, '*', unpack(fields))
  end
  redis.call('XACK', KEYS[1], ARGV[1], id)
end
`

/** Group, consumer, idle time to claim after, where to begin, how many: the next beginning, and messages with deliveries. */
export const claim = `
local r = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local out = {}
for _, m in ipairs(r[2]) do
  if m and m[2] then
    local p = redis.call('XPENDING', KEYS[1], ARGV[1], m[1], m[1], 1)
    out[#out + 1] = {m[1], m[2], p[1] and p[1][4] or 1}
  end
end
return {r[1], out}
`

/** Group, consumer, and ids that are being handled: they are not idle. */
export const extend = `${own}
for i = 3, #ARGV do
  if own(ARGV[i]) then redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID') end
end
return 0
`

/** Group, consumer, id, idle time, most deliveries, reason, length: 1 when it will be delivered again, 2 when it is buried. */
export const nack = `${own}${bury}
local count = own(ARGV[3])
if not count then return 0 end
if count >= tonumber(ARGV[5]) then
  bury(ARGV[3], count, ARGV[6], ARGV[7])
  return 2
end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[4], 'JUSTID')
return 1
`

/** Group, consumer, id, idle time: it may be claimed by others at once, and this delivery does not count. */
export const release = `${own}
local count = own(ARGV[3])
if count then
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3],
    'IDLE', ARGV[4], 'RETRYCOUNT', math.max(count - 1, 0), 'JUSTID')
end
return 0
`

/** Group, consumer: removes it when nothing is pending for it. */
export const leave = `
if redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])[1] then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
`
