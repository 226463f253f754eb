"""What Redis does for shared limits, atomically and by its own clock.

A bucket is one number, the theoretical arrival time of `app.kernel.ratelimit` in microseconds of
the node's clock. Its key goes when the bucket is full again, so memory holds only what is in use.
"""

from app.kernel.redisclient import Script

TAKE = Script(
    """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local interval, burst, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or now) or now, now)
-- A node whose clock was ahead may have written it: no bucket is emptier than empty.
arrival = math.min(arrival, now + interval * burst)
local room = math.floor((now + interval * burst - arrival) / interval + 0.000001)
local given = math.min(room, want)
if given > 0 then
  arrival = arrival + given * interval
  local left_ms = math.ceil((arrival - now) / 1000) + 1
  redis.call('SET', KEYS[1], string.format('%.3f', arrival), 'PX', left_ms)
end
if given == want then return {given, 0} end
return {given, math.max(math.ceil(arrival - now - interval * (burst - 1)), 1)}
"""
)
"""Key: a bucket. Given: the interval (us), the burst, how many are wanted. Returns how many were
let in, and, if fewer than wanted, microseconds until the next may be."""

ANNOUNCE = Script(
    """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""
)
"""Key: the replicas. Given: this one's name, and milliseconds after which a silent one is gone.
Returns how many there are."""

PROBE = Script("return redis.call('EXISTS', KEYS[1])")
"""Key: any. Whether its slot is served."""
