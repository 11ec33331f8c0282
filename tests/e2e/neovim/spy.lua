-- Runs inside the Neovim under test, before anything else: records what goes over the wire, so that
-- tests can compare the screen with what the daemon really said.

_G.wire = { requests = {}, partials = {}, notified = {} }

local start = vim.lsp.rpc.start
vim.lsp.rpc.start = function(cmd, dispatchers, ...)
  local on_notification = dispatchers.notification
  dispatchers.notification = function(method, params)
    if method == '$/progress' and type(params.value) == 'table' and not params.value.kind then
      table.insert(wire.partials, { token = params.token, items = params.value })
    elseif method == 'fimd/status' then
      wire.status = params
    end
    return on_notification(method, params)
  end
  local client = start(cmd, dispatchers, ...)
  if not client then
    return client
  end
  local request, notify = client.request, client.notify
  client.request = function(method, params, callback, replied)
    local record = { method = method, params = vim.deepcopy(params) }
    table.insert(wire.requests, record)
    return request(method, params, function(err, result, ...)
      record.answered = true
      record.err = err
      record.result = vim.deepcopy(result)
      return callback(err, result, ...)
    end, function(...)
      record.answered = true -- also if it was cancelled, where Neovim drops the reply
      return replied and replied(...)
    end)
  end
  client.notify = function(method, params, ...)
    table.insert(wire.notified, { method = method, params = vim.deepcopy(params) })
    return notify(method, params, ...)
  end
  return client
end

-- What the daemon answered to the inline completion requests, streamed parts included, newest last.
function wire.replies()
  local replies = {}
  for _, request in ipairs(wire.requests) do
    if request.method == 'textDocument/inlineCompletion' and request.answered then
      local items = type(request.result) == 'table' and (request.result.items or request.result) or {}
      -- The last of several partial results counts.
      for _, partial in ipairs(wire.partials) do
        if partial.token == request.params.partialResultToken then
          items = partial.items
        end
      end
      table.insert(replies, { params = request.params, items = items, err = request.err })
    end
  end
  return replies
end

function wire.count(method)
  local n = 0
  for _, list in ipairs({ wire.requests, wire.notified }) do
    for _, message in ipairs(list) do
      if message.method == method then
        n = n + 1
      end
    end
  end
  return n
end

-- Requests without an answer.
function wire.pending()
  local n = 0
  for _, request in ipairs(wire.requests) do
    if not request.answered then
      n = n + 1
    end
  end
  return n
end

-- The ghost text on the screen, as virtual text of either namespace, and where it is.
function wire.ghost()
  local buf = vim.api.nvim_get_current_buf()
  local text, row, col, pos = nil, nil, nil, nil
  for name, id in pairs(vim.api.nvim_get_namespaces()) do
    if name == 'fimd' or name == 'nvim.lsp.inline_completion' then
      for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(buf, id, 0, -1, { details = true })) do
        local details = mark[4]
        row = row or mark[2]
        for _, chunk in ipairs(details.virt_text or {}) do
          text = (text or '') .. (chunk[2] ~= 'FimdCount' and chunk[1] or '')
          col = col or mark[3]
          pos = details.virt_text_pos
        end
        for _, line in ipairs(details.virt_lines or {}) do
          text = (text or '') .. '\n'
          for _, chunk in ipairs(line) do
            text = text .. (chunk[2] ~= 'FimdCount' and chunk[1] or '')
          end
        end
      end
    end
  end
  return text and { text = text, row = row, col = col, pos = pos } or vim.NIL
end
