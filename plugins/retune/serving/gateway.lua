-- Answers "which release?" for each completion request, and keeps what was asked and answered.
-- The alias table lies in the route's metadata (RDS), so a flip touches no listener.

local PROMPT_LIMIT = 16384    -- bytes of the last user message that are kept
local RESPONSE_LIMIT = 65536  -- bytes of the response that are kept
local QUOTE, OPEN, CLOSE, LIST, COLON, COMMA = 34, 123, 125, 91, 58, 44
local find, sub, byte = string.find, string.sub, string.byte

-- JSON, scanned in place: each function returns the index after what it skipped, or nil.

local function skip_space(s, i)
  return find(s, "[^ \t\r\n]", i) or #s + 1
end

local function skip_string(s, i)
  i = i + 1
  while true do
    i = find(s, '["\\]', i)
    if not i then return nil end
    if byte(s, i) == QUOTE then return i + 1 end
    i = i + 2
  end
end

local function skip_nested(s, i)
  local depth = 0
  while true do
    i = find(s, '["{}%[%]]', i)
    if not i then return nil end
    local c = byte(s, i)
    if c == QUOTE then
      i = skip_string(s, i)
      if not i then return nil end
    else
      depth = depth + ((c == OPEN or c == LIST) and 1 or -1)
      i = i + 1
      if depth == 0 then return i end
    end
  end
end

local function skip_value(s, i)
  local c = byte(s, i)
  if c == QUOTE then return skip_string(s, i) end
  if c == OPEN or c == LIST then return skip_nested(s, i) end
  local _, last = find(s, '^[%w%.%+%-]+', i)
  return last and last + 1
end

-- Calls visit(raw key, first, last) for each member of the object that starts at i.
local function each_member(s, i, visit)
  if byte(s, i) ~= OPEN then return nil end
  i = skip_space(s, i + 1)
  if byte(s, i) == CLOSE then return i + 1 end
  while byte(s, i) == QUOTE do
    local after = skip_string(s, i)
    if not after then return nil end
    local key = sub(s, i + 1, after - 2)
    i = skip_space(s, after)
    if byte(s, i) ~= COLON then return nil end
    i = skip_space(s, i + 1)
    after = skip_value(s, i)
    if not after then return nil end
    visit(key, i, after - 1)
    i = skip_space(s, after)
    if byte(s, i) == CLOSE then return i + 1 end
    if byte(s, i) ~= COMMA then return nil end
    i = skip_space(s, i + 1)
  end
  return nil
end

-- Returns the last user message's content as raw JSON, or nil.
local function last_user_content(s, first)
  if byte(s, first) ~= LIST then return nil end
  local found
  local i = skip_space(s, first + 1)
  while byte(s, i) == OPEN do
    local role, content
    local after = each_member(s, i, function(key, from, to)
      if key == "role" then role = sub(s, from, to) end
      if key == "content" then content = { from, to } end
    end)
    if not after then return nil end
    if role == '"user"' and content then found = content end
    i = skip_space(s, after)
    if byte(s, i) ~= COMMA then break end
    i = skip_space(s, i + 1)
  end
  return found and sub(s, found[1], math.min(found[2], found[1] + PROMPT_LIMIT - 1))
end

-- Returns {first, last, name, prompt} of the request, or nil and what is wrong with it.
local function read_request(s)
  local place = {}
  local models, messages, prompt, escaped = 0, nil, nil, false
  local after = each_member(s, skip_space(s, 1), function(key, from, to)
    -- An escaped spelling of "model" would reach the server under another release's name.
    if find(key, "\\", 1, true) then escaped = true end
    if key == "model" then
      models, place.first, place.last = models + 1, from, to
    elseif key == "messages" then
      messages = from
    elseif key == "prompt" then
      prompt = sub(s, from, math.min(to, from + PROMPT_LIMIT - 1))
    end
  end)
  if not after or skip_space(s, after) <= #s then return nil, "the body is not a JSON object" end
  if escaped then return nil, "a key of the body is written with escapes" end
  if models ~= 1 then return nil, "the body must name one model" end
  place.name = string.match(sub(s, place.first, place.last), '^"([^"\\]*)"$')
  place.prompt = messages and last_user_content(s, messages) or prompt or ""
  return place
end

local function pick(targets)
  local total = 0
  for _, target in ipairs(targets) do total = total + target.weight end
  local point = math.random() * total
  for _, target in ipairs(targets) do
    point = point - target.weight
    if point < 0 then return target end
  end
  return nil
end

local function refuse(h, status, message, kind, code)
  h:respond(
    { [":status"] = status, ["content-type"] = "application/json" },
    '{"error":{"message":"' .. message .. '","type":"' .. kind .. '","param":"model","code":' .. code .. '}}'
  )
end

function envoy_on_request(h)
  local headers = h:headers()
  local probe = headers:get("x-retune-probe") and "yes" or ""
  headers:remove("accept-encoding")  -- a compressed answer could not be captured
  local body = h:body()
  local text = body and body:getBytes(0, body:length()) or ""
  local request, wrong = read_request(text)
  if not request then
    return refuse(h, "400", wrong, "invalid_request_error", "null")
  end
  local route = request.name and h:metadata():get(request.name)
  if not route then
    return refuse(h, "404", "this model does not exist; GET /v1/models lists those that do",
      "invalid_request_error", '"model_not_found"')
  end
  local target = pick(route.targets)
  if not target then
    return refuse(h, "503", "no release of this model takes requests now", "server_error", "null")
  end
  local changed = sub(text, 1, request.first - 1) .. '"' .. target.model_digest .. '"' .. sub(text, request.last + 1)
  h:headers():replace("content-length", tostring(body:setBytes(changed)))
  -- body() may have yielded: objects fetched before it are out of scope.
  local kept = h:streamInfo():dynamicMetadata()
  kept:set("retune", "pipeline", route.pipeline)
  kept:set("retune", "alias", request.name)
  kept:set("retune", "version", string.format("%d", route.version))
  kept:set("retune", "release", string.format("%d", target.release))
  kept:set("retune", "digest", target.model_digest)
  kept:set("retune", "probe", probe)
  kept:set("retune", "prompt", h:base64Escape(request.prompt))
end

function envoy_on_response(h)
  local kept = h:streamInfo():dynamicMetadata():get("retune")
  if not kept or not kept.release then return end
  local headers = h:headers()
  headers:replace("x-retune-release", kept.release)
  headers:replace("x-retune-route", kept.version)
  if headers:get(":status") == "404" then
    -- The alias exists; a replica that has just restarted does not hold the adapter yet.
    headers:replace(":status", "503")
    headers:replace("retry-after", "1")
  end
  if kept.probe ~= "" then return end
  local parts, size = {}, 0
  for chunk in h:bodyChunks() do  -- each chunk goes on to the caller as it comes
    local room = math.min(chunk:length(), RESPONSE_LIMIT - size)
    if room > 0 then
      size = size + room
      parts[#parts + 1] = chunk:getBytes(0, room)
    end
  end
  h:streamInfo():dynamicMetadata():set("retune", "response", h:base64Escape(table.concat(parts)))
end
