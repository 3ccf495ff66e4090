-- Pixel requests for wrk: no two alike in visitor and event, pages and arrivals as a shop has them.
-- BENCH_SITE is the site's key. The texts are made before the clock starts.
local site = os.getenv("BENCH_SITE")
local requests, count, n = {}, 20000, 0

init = function(args)
  math.randomseed(1)
  local tags = { "", "%3Futm_source%3Dgoogle%26utm_medium%3Dcpc%26utm_campaign%3Dbrand",
    "%3Futm_source%3Dnewsletter%26utm_medium%3Demail%26utm_campaign%3Dweekly" }
  for i = 1, count do
    local path = string.format(
      "/p.gif?site=%s&event_id=e%08d%06d&visitor_id=v%012d&url=https%%3A%%2F%%2Fwww.shop.example%%2Flamps%%2F%d%s"
        .. "&referrer=https%%3A%%2F%%2Fwww.shop.example%%2F&title=Lamps",
      site, math.random(0, 99999999), i, math.random(0, 999999999), math.random(1, 40), tags[math.random(1, 3)])
    requests[i] = wrk.format("GET", path, {
      ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0" })
  end
end

request = function()
  n = n % count + 1
  return requests[n]
end
